"""Between the attention operators' layouts and [B, S, heads, D]."""

from __future__ import annotations

from torch import Tensor


def to_bsnd(tensor: Tensor, layout: str, heads: int) -> Tensor:
    """View a tensor of any layout as [B, S, heads, D]; packed layouts (TND, NTD) get B = 1 and S = T."""
    if "H" in layout:
        tensor = tensor.reshape(*tensor.shape[:2], heads, tensor.shape[2] // heads)
    if layout in {"BNSD", "NTD"}:
        tensor = tensor.transpose(-3, -2)
    if layout == "SBH":
        tensor = tensor.transpose(0, 1)
    return tensor if tensor.dim() == 4 else tensor.unsqueeze(0)


def from_bsnd(tensor: Tensor, layout: str) -> Tensor:
    """Return a [B, S, heads, D] tensor contiguous in `layout`; the inverse of `to_bsnd`."""
    if "H" in layout:
        tensor = tensor.flatten(2)
    if layout in {"TND", "NTD"}:
        tensor = tensor.squeeze(0)
    if layout in {"BNSD", "NTD"}:
        tensor = tensor.transpose(-3, -2)
    if layout == "SBH":
        tensor = tensor.transpose(0, 1)
    return tensor.contiguous()
