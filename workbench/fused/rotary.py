"""Cosines and sines of rotary positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Tables = tuple[Tensor, Tensor]
"""Cosines and sines, each `[1, R, 1, D]`."""


@dataclass(frozen=True, slots=True)
class Rotary:
    """Frequencies of a model, as its transformers module works them out from the configuration.

    Attributes:
        inv_freq: float32 `[D / 2]`.
        scale: Factor on cosines and sines; other than 1 for yarn.
        module: Asked at each call, where frequencies follow the longest position; else None.
    """

    inv_freq: Tensor
    scale: float = 1.0
    module: Callable[..., tuple[Tensor, Tensor]] | None = None

    @classmethod
    def of(cls, module: Any, kind: str) -> Rotary:
        """Take a module's frequencies; `kind` as in `RopeConfig`."""
        asked = module if kind == "dynamic" else None
        return cls(module.inv_freq, float(module.attention_scaling), asked)

    def tables(self, position_ids: Tensor, dtype: torch.dtype) -> Tables:
        """Return the tables of positions, int64 `[R]`, rounded to `dtype` at the end."""
        if self.module is not None:
            like = torch.empty(0, dtype=dtype, device=position_ids.device)
            cos, sin = self.module(like, position_ids[None])
            return cos.unsqueeze(2), sin.unsqueeze(2)
        angles = position_ids[:, None].float() * self.inv_freq
        both = torch.cat((angles, angles), dim=-1)[None, :, None]
        cos, sin = both.cos(), both.sin()
        if self.scale != 1.0:
            cos, sin = cos * self.scale, sin * self.scale
        return cos.to(dtype), sin.to(dtype)
