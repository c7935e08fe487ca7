"""Rotary position embedding: frequencies of each kind, from their published formulas, and the rotation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reference.arithmetic import at_least_float32
from tracing.errors import UsageError
from tracing.models import RopeConfig

KINDS = ("default", "linear", "llama3", "dynamic", "yarn")


def rotation(
    rope: RopeConfig, head_dim: int, position_ids: Tensor, max_position_embeddings: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of every row's angles, each `[R, head_dim]` in `dtype`.

    Angles are computed in float32 (in float64 for float64), as transformers does, and then cast.

    Args:
        rope: Kind and parameters.
        head_dim: D, even.
        position_ids: int64 `[R]`.
        max_position_embeddings: The model's; `dynamic` changes its frequencies beyond it.
        dtype: Of the model.

    Raises:
        UsageError: A kind that is not known, or a `dynamic` rope beyond `max_position_embeddings`.
    """
    if rope.kind == "dynamic" and position_ids.numel() and int(position_ids.max()) >= max_position_embeddings:
        raise UsageError(
            f"a dynamic rope changes its frequencies with the longest sequence seen beyond "
            f"{max_position_embeddings} tokens, got position {int(position_ids.max())}; use a shorter prompt"
        )
    wide = at_least_float32(dtype)
    frequencies, gain = inverse_frequencies(rope, head_dim, max_position_embeddings, wide)
    angles = position_ids.to(wide)[:, None] * frequencies.to(position_ids.device)[None, :]
    angles = torch.cat([angles, angles], dim=-1)
    return (angles.cos() * gain).to(dtype), (angles.sin() * gain).to(dtype)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate each pair (lane d, lane d + D/2) of `x` `[H, R, D]` by its row's angles `[R, D]`."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cosines + turned * sines


def inverse_frequencies(
    rope: RopeConfig, head_dim: int, max_position_embeddings: int, dtype: torch.dtype
) -> tuple[Tensor, float]:
    """Return radians per token, `[head_dim / 2]`, and the gain on cosines and sines (1 but for yarn).

    Raises:
        UsageError: An unknown kind, a missing parameter, or a rope over a part of the head only.
    """
    if rope.kind not in KINDS:
        raise UsageError(f"rope kind should be one of {', '.join(KINDS)}, got {rope.kind!r}")
    if rope.parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise UsageError("rope should cover the whole head, got a partial_rotary_factor other than 1")
    powers = torch.arange(0, head_dim, 2, dtype=torch.int64).to(dtype) / head_dim
    plain = 1.0 / rope.theta**powers
    if rope.kind == "linear":
        return plain / _parameter(rope, "factor"), 1.0
    if rope.kind == "llama3":
        return _llama3(rope, plain), 1.0
    if rope.kind == "yarn":
        return _yarn(rope, plain, head_dim, max_position_embeddings)
    return plain, 1.0


def _parameter(rope: RopeConfig, name: str) -> float:
    value = rope.parameters.get(name)
    if value is None:
        raise UsageError(
            f"a rope of kind {rope.kind} needs the parameter {name}, which the config does not have"
        )
    return float(value)


def _llama3(rope: RopeConfig, plain: Tensor) -> Tensor:
    """Slow waves are stretched by `factor`, fast ones kept, those between blended (Llama 3.1 release)."""
    factor = _parameter(rope, "factor")
    low, high = _parameter(rope, "low_freq_factor"), _parameter(rope, "high_freq_factor")
    turns = _parameter(rope, "original_max_position_embeddings") * plain / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1.0 - kept) * plain / factor + kept * plain


def _yarn(
    rope: RopeConfig, plain: Tensor, head_dim: int, max_position_embeddings: int
) -> tuple[Tensor, float]:
    """Lanes are blended by index between two counts of turns; attention is sharpened (arXiv 2309.00071)."""
    original = _parameter(rope, "original_max_position_embeddings")
    factor = float(rope.parameters.get("factor") or max_position_embeddings / original)
    fast, slow = float(rope.parameters.get("beta_fast") or 32), float(rope.parameters.get("beta_slow") or 1)
    first, last = (
        head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))
        for turns in (fast, slow)
    )
    if rope.parameters.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    width = last - first if last != first else 0.001
    lanes = torch.arange(head_dim // 2, dtype=plain.dtype)
    stretched = ((lanes - first) / width).clamp(0.0, 1.0)
    return stretched * plain / factor + (1.0 - stretched) * plain, _yarn_gain(rope, factor)


def _yarn_gain(rope: RopeConfig, factor: float) -> float:
    given = rope.parameters.get("attention_factor")
    if given is not None:
        return float(given)

    def gain(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    scale, scale_all = rope.parameters.get("mscale"), rope.parameters.get("mscale_all_dim")
    return gain(float(scale)) / gain(float(scale_all)) if scale and scale_all else gain(1.0)
