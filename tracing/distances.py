"""Edges of the attention distance buckets: distances are recorded raw, a manifest has the edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tracing.errors import UsageError

MANIFEST_KEY: Final = "distance_edges"

MAX_DIGITS: Final = 19
"""Digits of a number that a person types; it fits 64 bits."""
DEFAULT_EDGES: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Lower edges of the buckets 0, 1, 2_3, 4_7, ..., 128_255, 256_plus, in tokens."""


def parse_edges(text: str) -> tuple[int, ...]:
    """Read lower edges as a person types them: `0,16,64,256`.

    Raises:
        UsageError: They do not begin at 0, do not rise, or are not at least two.
    """
    parts = [part.strip() for part in text.split(",")]
    edges = tuple(int(part) for part in parts if part.isdecimal() and len(part) < MAX_DIGITS)
    if len(edges) != len(parts) or not _are_edges(edges):
        raise UsageError(
            f"distance edges should be the buckets' lower edges, 0 first and rising, e.g. 0,16,64,256; "
            f"got {text!r}"
        )
    return edges


def stated_edges(manifest: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the lower edges that a manifest states, or the default ones where it states none."""
    stated = manifest.get(MANIFEST_KEY)
    if isinstance(stated, list) and _are_edges(stated):
        return tuple(stated)
    return DEFAULT_EDGES


def _are_edges(edges: Sequence[Any]) -> bool:
    return (
        len(edges) > 1
        and all(type(edge) is int for edge in edges)
        and edges[0] == 0
        and list(edges) == sorted(set(edges))
    )
