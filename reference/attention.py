"""Dense softmax attention with an explicit `visible`, and the two sublayers that every block is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reference.arithmetic import Arithmetic, Weights, at_least_float32, linear, rms_norm
from reference.rope import rotate
from tracing.models import DrafterConfig, TeacherConfig


@dataclass(frozen=True, slots=True)
class Attended:
    """Result of one attention sublayer.

    Attributes:
        output: After the output projection, `[Q, hidden]`.
        query: After rotary, `[H, Q, D]`.
        key, value: Of the new rows, key after rotary, before a cache rounds them, each `[H_kv, R, D]`.
    """

    output: Tensor
    query: Tensor
    key: Tensor
    value: Tensor


def attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Return softmax(query · key / sqrt(D)) · value over the visible keys; zero where nothing is visible.

    Softmax runs in float32 or better and is cast back, as in transformers' eager attention and in kernels.

    Args:
        query: `[H, Q, D]`.
        key: `[H_kv, S, D]`; every `H / H_kv` query heads share one.
        value: `[H_kv, S, D]`.
        visible: bool `[Q, S]`, True attends.
        arithmetic: Order of the sums over D and over S.

    Returns:
        `[H, Q, D]`.
    """
    heads_per_key = query.shape[0] // key.shape[0]
    key_order = arithmetic.order(key.shape[1], key.device)
    if key_order is not None:
        key, value, visible = key[:, key_order], value[:, key_order], visible[:, key_order]
    lane_order = arithmetic.order(query.shape[2], query.device)
    value = value.repeat_interleave(heads_per_key, dim=0)
    if lane_order is not None:
        query, key = query[..., lane_order], key[..., lane_order]
    key = key.repeat_interleave(heads_per_key, dim=0)
    working = arithmetic.working
    scores = working(query) @ working(key).transpose(1, 2) * query.shape[2] ** -0.5
    scores = scores.to(at_least_float32(scores.dtype)).masked_fill_(~visible, float("-inf"))
    shares = torch.softmax(scores, dim=-1).to(query.dtype)
    sees_nothing = ~visible.any(dim=-1, keepdim=True)
    mixed = arithmetic.settled(working(shares) @ working(value), query.dtype)
    return mixed.masked_fill(sees_nothing, 0.0)


def attend(
    x: Tensor,
    *,
    weights: Weights,
    prefix: str,
    config: TeacherConfig | DrafterConfig,
    turns: tuple[Tensor, Tensor],
    visible: Tensor,
    past: Tensor | None,
    arithmetic: Arithmetic,
) -> Attended:
    """Project, rotate, attend, project: the attention sublayer of every block.

    Args:
        x: Normed input of R new rows, `[R, in]`; the last Q of them ask.
        weights: Canonical weights.
        prefix: Name of the sublayer, e.g. `model.layers.0.self_attn`.
        config: Number of heads, head dim, norm epsilon.
        turns: Cosines and sines of the new rows, each `[R, D]`.
        visible: bool `[Q, S + R]`, True attends.
        past: Keys and values of S earlier rows, `[2, H_kv, S, D]`, or None.
        arithmetic: Order of sums.
    """

    def heads(name: str, num: int) -> Tensor:
        return linear(x, weights, f"{prefix}.{name}", arithmetic).view(x.shape[0], num, config.head_dim)

    query, key = heads("q_proj", config.num_heads), heads("k_proj", config.num_kv_heads)
    if config.qk_norm:
        query = rms_norm(query, weights[f"{prefix}.q_norm.weight"], config.rms_norm_eps, arithmetic)
        key = rms_norm(key, weights[f"{prefix}.k_norm.weight"], config.rms_norm_eps, arithmetic)
    query, key = (
        arithmetic.settled(rotate(arithmetic.working(side.transpose(0, 1)), *turns), x.dtype)
        for side in (query, key)
    )
    value = heads("v_proj", config.num_kv_heads).transpose(0, 1)
    query = query[:, query.shape[1] - visible.shape[0] :]
    all_keys = arithmetic.stored(key if past is None else torch.cat([past[0], key], dim=1))
    all_values = arithmetic.stored(value if past is None else torch.cat([past[1], value], dim=1))
    mixed = attention(query, all_keys, all_values, visible, arithmetic)
    rows = mixed.transpose(0, 1).reshape(visible.shape[0], -1)
    return Attended(linear(rows, weights, f"{prefix}.o_proj", arithmetic), query, key, value)


def gated_mlp(x: Tensor, weights: Weights, prefix: str, arithmetic: Arithmetic) -> Tensor:
    """Return down(silu(gate(x)) * up(x)), the SwiGLU sublayer `[R, hidden]`."""
    gate, up = (
        arithmetic.working(linear(x, weights, f"{prefix}.{name}", arithmetic))
        for name in ("gate_proj", "up_proj")
    )
    gated = arithmetic.settled(torch.nn.functional.silu(gate) * up, x.dtype)
    return linear(gated, weights, f"{prefix}.down_proj", arithmetic)
