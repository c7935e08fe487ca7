"""Keys and values as a cache that rounds them on purpose gives them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from tracing.errors import UsageError

Mode = Literal["nearest", "drawn", "kept"]
FLOATS: Final = {
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
INT8_LEVELS: Final = 127


@dataclass(frozen=True, slots=True)
class CacheRounding:
    """How K and V are rounded on their way through the cache.

    Engines differ in whether a forward attends to its own rows before or after they are rounded, and a value
    at the border of two neighbours may go to either. Samples of the error do it one way or another.

    Attributes:
        dtype: A key of `FLOATS`, or `int8`.
        scale: A stored number stands for so much; for `int8`, 0 scales each head's row by its largest value.
        mode: To the nearest neighbour, to one drawn by nearness, or `kept` as computed.
        seed: Of the draws.
    """

    dtype: str
    scale: float = 0.0
    mode: Mode = "nearest"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in FLOATS and self.dtype != "int8":
            known = ", ".join([*FLOATS, "int8"])
            raise UsageError(f"cache_dtype should be one of {known}, got {self.dtype!r}")

    def stored(self, rows: Tensor) -> Tensor:
        """Return `rows [H_kv, S, D]` as the cache gives them back, in the dtype that they have."""
        if self.mode == "kept":
            return rows
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        if self.dtype == "int8":
            scale = self.scale or wide.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30) / INT8_LEVELS
            steps = (wide / scale + self._drawn(wide)).round().clamp(-INT8_LEVELS - 1, INT8_LEVELS)
            return (steps * scale).to(rows.dtype)
        number, scale = FLOATS[self.dtype], self.scale or 1.0
        limits = torch.finfo(number)
        scaled = wide / scale
        _, exponent = torch.frexp(scaled.abs().clamp_min(limits.smallest_normal))
        step = torch.ldexp(torch.full_like(scaled, limits.eps), exponent - 1)
        moved = (scaled + self._drawn(scaled) * step).clamp(limits.min, limits.max)
        return (moved.to(number).to(wide.dtype) * scale).to(rows.dtype)

    def _drawn(self, like: Tensor) -> Tensor:
        """Return what moves a value before it goes to the nearest neighbour, in steps of the dtype."""
        if self.mode == "nearest":
            return torch.zeros_like(like)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + like.numel())
        return (torch.rand(like.shape, generator=generator) - 0.5).to(like.device, like.dtype)
