"""Tells the tensors of a forward by name while somebody asks; see `tracing.intermediates`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from tracing.intermediates import Give


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the tensors of one network go; the forwards hold None in its place while nobody asks.

    Attributes:
        give: Takes a name and a tensor.
        site: Network and site, the beginning of each name.
    """

    give: Give
    site: str

    def at(self, site: str) -> Seen:
        """Return the same within a layer or head."""
        return replace(self, site=f"{self.site}.{site}")

    def __call__(self, **tensors: Tensor | None) -> None:
        """Tell tensors by their names; None is left out."""
        for name, tensor in tensors.items():
            if tensor is not None:
                self.give(f"{self.site}.{name}", tensor)


def seen_of(give: Give | None, network: str) -> Seen | None:
    """Return where a network's tensors go, None while nobody asks."""
    return None if give is None else Seen(give, network)


def tell_heads(seen: Seen, heads: Tensor, normed: Tensor | None, num_heads: int, num_rotated: int) -> None:
    """Tell the joined projections of a layer.

    Args:
        seen: Of the layer.
        heads: Queries, keys and values behind each other, `[1, R, H + 2 * H_kv, D]`.
        normed: Queries and keys after their norms, `[1, R, H + H_kv, D]`, or None.
        num_heads: H.
        num_rotated: H + H_kv.
    """
    parts = (heads[:, :, :num_heads], heads[:, :, num_heads:num_rotated], heads[:, :, num_rotated:])
    seen(**dict(zip(("query_proj", "key_proj", "value"), parts, strict=True)))
    if normed is not None:
        seen(query_norm=normed[:, :, :num_heads], key_norm=normed[:, :, num_heads:])


def tell_mlp(seen: Seen, normed: Tensor, gate_and_up: Tensor, activated: Tensor, output: Tensor) -> None:
    """Tell the tensors of a gated MLP; gate and up are behind each other."""
    gate, up = gate_and_up.chunk(2, dim=-1)
    seen(mlp_norm=normed, gate=gate, up=up, activated=activated, mlp_output=output)


@contextmanager
def intermediates(state: Any, give: Give) -> Iterator[None]:
    """Let the stages of a state tell their tensors; see `tracing.stages.DecodePath`."""
    state.give = give
    try:
        yield
    finally:
        state.give = None
