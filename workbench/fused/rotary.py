"""Cosines and sines of rotary positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

PLAIN: Final = "default"
"""Kind of a `RopeConfig` whose frequencies nothing scales."""
Tables = tuple[Tensor, Tensor]
"""Cosines and sines, each `[1, R, 1, D]`."""


@dataclass(frozen=True, slots=True)
class Rotary:
    """Frequencies of a model; scaled ones as transformers works them out from the configuration.

    Attributes:
        inv_freq: float32 `[D / 2]`.
        scale: Factor on cosines and sines; other than 1 for yarn.
        module: Asked at each call, where frequencies follow the longest position; else None.
    """

    inv_freq: Tensor
    scale: float = 1.0
    module: Callable[..., tuple[Tensor, Tensor]] | None = None

    @classmethod
    def plain(cls, theta: float, head_dim: int, device: torch.device) -> Rotary:
        """Return frequencies that nothing scales."""
        return cls((1.0 / theta ** (torch.arange(0, head_dim, 2).float() / head_dim)).to(device))

    @classmethod
    def of(cls, hf_config: Any, kind: str, device: torch.device) -> Rotary:
        """Return the library's frequencies for its own configuration; `kind` as in `RopeConfig`."""
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        module: Any = LlamaRotaryEmbedding(config=hf_config).to(device)
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
