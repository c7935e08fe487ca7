"""Layout strings of the fused attention call and the axes that they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

DENSE: Final = ("BSH", "BSND", "BNSD")
"""Layouts with a batch axis, in which one query row per request means decoding."""
MIXED: Final = ("BSH_BNSD", "BSND_BNSD")
"""Dense layouts whose output has another axis order and whose head dims are restricted."""
PACKED: Final = ("TND", "NTD", "NTD_TND")
"""Layouts without a batch axis: requests follow each other along T."""
LAYOUTS: Final = (*DENSE, "BNSD_BSND", *MIXED, *PACKED)
"""Layouts that contract and emulation cover."""
UNMODELLED: Final = ("BSH_NBSD", "BSND_NBSD", "BNSD_NBSD", "TND_NTD")
"""Documented for latent attention only."""


@dataclass(frozen=True, slots=True)
class Axes:
    """Sizes of one query, key or value tensor.

    Attributes:
        batch: B; 1 in packed layouts (the number of requests comes from the lengths).
        length: S, or T in packed layouts.
        heads: H.
        dim: D.
    """

    batch: int
    length: int
    heads: int
    dim: int


def input_layout(layout: str) -> str:
    """Return the axis order of the inputs: `BNSD` for `BNSD_BSND`."""
    return layout.partition("_")[0]


def output_layout(layout: str) -> str:
    """Return the axis order of the output: `BSND` for `BNSD_BSND`."""
    return layout.rpartition("_")[2]


def axes(tensor: Tensor, layout: str, heads: int) -> Axes:
    """Read the sizes of `tensor`, whose rank already fits `layout`; BSH splits H by `heads`."""
    shape = tensor.shape
    if layout == "BSH":
        return Axes(shape[0], shape[1], heads, shape[2] // heads)
    sizes = dict(zip(layout, shape, strict=True))
    return Axes(sizes.get("B", 1), sizes.get("S", sizes.get("T", 1)), sizes["N"], sizes["D"])
