"""Pieces that teacher and drafter share in training: norm, rotary tables, grouped attention, SwiGLU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from examples.tiny_pangu.recipe import TeacherShape


class Tables(NamedTuple):
    """What attention needs to know of positions.

    Attributes:
        cos, sin: Rotary tables of the rows, `[T, head_dim]`.
        bias: Additive causal form, `[T, T]`.
    """

    cos: Tensor
    sin: Tensor
    bias: Tensor


class RmsNorm(nn.Module):
    """Root-mean-square norm, computed in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, values: Tensor) -> Tensor:
        """Normalise the last axis; returns float32."""
        wide = values.float()
        return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotary_tables(num_positions: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return cos and sin `[positions, head_dim]`, computed in float64, for the rotate-half convention."""
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), frequencies)
    angles = torch.cat([angles, angles], -1)
    return angles.cos().float(), angles.sin().float()


def rotate(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding to `[..., T, head_dim]`."""
    half = values.shape[-1] // 2
    return values * cos + torch.cat([-values[..., half:], values[..., :half]], -1) * sin


def causal_bias(num_positions: int) -> Tensor:
    """Return the additive causal form `[T, T]`: 0 on and below the diagonal, -inf above."""
    return torch.full((num_positions, num_positions), float("-inf")).triu(1)


def split_heads(values: Tensor, num_heads: int, head_dim: int) -> Tensor:
    """`[B, T, heads * head_dim]` to `[B, heads, T, head_dim]`."""
    batch_size, num_tokens, _ = values.shape
    return values.view(batch_size, num_tokens, num_heads, head_dim).transpose(1, 2)


class SwiGlu(nn.Module):
    """Gated MLP without biases."""

    def __init__(self, shape: TeacherShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """Return the MLP's output in float32."""
        gated = nn.functional.silu(self.gate_proj(values)) * self.up_proj(values)
        return self.down_proj(gated).float()  # type: ignore[no-any-return]
