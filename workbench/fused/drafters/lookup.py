"""Prompt lookup on the fused path: the rest of an earlier place that ends as the text does now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, IntArray
from workbench.fused.drafters.seam import (
    CommittedRows,
    DrafterKind,
    DrafterParts,
    DraftTurn,
    Memory,
    TokenMemory,
)


@dataclass(frozen=True, slots=True)
class LookupDrafter:
    """Looks up; see `workbench.fused.drafters.seam.Drafter`.

    Attributes:
        limit: Most positions of the teacher.
        eos: Tokens that end a text, `[E]`.
    """

    limit: int
    eos: IntArray

    def begin(self) -> TokenMemory:
        """Return an empty memory."""
        return TokenMemory()

    def follow(self, memory: Memory, rows: CommittedRows) -> None:
        """Append the rows' tokens."""
        cast("TokenMemory", memory).follow(rows)

    def draft(self, memory: Memory, turn: DraftTurn) -> Drafted:
        """Return the continuation as a chain under the root."""
        text = np.array(cast("TokenMemory", memory).token_ids, dtype=np.int64)
        found = look_up(text, turn.settings, self.limit, self.eos)
        return Drafted(
            token_ids=np.concatenate([text[-1:], found]),
            parents=np.maximum(np.arange(-1, len(found)), 0),
            proposer="lookup",
        )


def look_up(text: IntArray, settings: DecodeSettings, limit: int, eos: IntArray) -> IntArray:
    """Return what to propose after a text, int64 `[0 .. tree_nodes - 1]`, by the rule of the settings."""
    is_vllm = settings.lookup_rule == "vllm"
    length, count = len(text), settings.tree_nodes - 1
    count = min(count, limit - length) if is_vllm else count
    if count <= 0 or (not is_vllm and limit == length + 1):
        return text[:0]
    # `max_length` bounds the place that is copied from: it is the other rule's way, and is kept.
    source = text[:-1] if is_vllm else text[: min(limit, length) - 1]
    after = _continuation(text, source, settings.lookup_min if is_vllm else 1, settings.lookup_max)
    if after is None:
        return text[:0]
    if is_vllm:
        return text[after : after + count]
    found = text[after : min(after + count, limit)]
    return found[: _until_any(found, eos)]


def _continuation(text: IntArray, source: IntArray, shortest: int, longest: int) -> int | None:
    """Return the place after the longest n-gram that ends the text and lies, first, in `source`."""
    for size in range(min(longest, len(source)), shortest - 1, -1):
        windows = np.lib.stride_tricks.sliding_window_view(source, size)
        alike = np.flatnonzero((windows == text[-size:]).all(axis=1))
        if len(alike):
            return int(alike[0]) + size
    return None


def _until_any(found: IntArray, stops: IntArray) -> int:
    hits = np.flatnonzero(np.isin(found, stops))
    return int(hits[0]) if len(hits) else len(found)


def _build(parts: DrafterParts) -> LookupDrafter:
    shortest, longest = parts.settings.lookup_min, parts.settings.lookup_max
    if parts.settings.lookup_rule == "vllm" and shortest > longest:
        raise UsageError(f"lookup_max should be at least lookup_min, {shortest}, got {longest}")
    eos = np.array(sorted(parts.pair.eos_token_ids), dtype=np.int64)
    return LookupDrafter(parts.pair.teacher.max_position_embeddings, eos)


LOOKUP: Final = DrafterKind(_build)
