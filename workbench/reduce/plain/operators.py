"""The operators of a decoder, one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config, Weights


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    """Return `x @ weight.T + bias`; most layers have no bias."""
    product = x @ weights[f"{name}.weight"].T
    return product + weights[f"{name}.bias"] if f"{name}.bias" in weights else product


def norm(x: Tensor, weights: Weights, name: str, config: Config) -> Tensor:
    """Return the RMS norm of each row: `x / sqrt(mean(x^2) + eps) * weight`."""
    wide = x.float() if x.element_size() < 4 else x
    size = torch.rsqrt((wide * wide).mean(-1, keepdim=True) + config["rms_norm_eps"])
    weighted: Tensor = weights[f"{name}.weight"] * (wide * size).to(x.dtype)
    return weighted


def rotary(x: Tensor, position_ids: Tensor, config: Config) -> Tensor:
    """Turn lanes d and d + D/2 of each head by position times frequency; x is `[R, H, D]`."""
    frequencies = torch.tensor(config["rope_frequencies"], dtype=torch.float64)
    angles = position_ids.double()[:, None, None] * torch.cat([frequencies, frequencies])
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    gain: float = config["rope_gain"]
    return x * (angles.cos() * gain).to(x.dtype) + turned * (angles.sin() * gain).to(x.dtype)


def attention(query: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
    """Return softmax(query . key / sqrt(D)) . value over the visible keys.

    Args:
        query: `[R, H, D]`.
        keys: `[S, H_kv, D]`; H / H_kv query heads next to each other share one.
        values: Like keys.
        visible: `[R, S]`, True attends; a row that sees nothing gives zeros.
    """
    group = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, dim=1), values.repeat_interleave(group, dim=1)
    scores = torch.einsum("rhd,shd->hrs", query, keys) * query.shape[-1] ** -0.5
    shares = scores.masked_fill(~visible, float("-inf")).softmax(dim=-1).nan_to_num(nan=0.0)
    return torch.einsum("hrs,shd->rhd", shares, values)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up."""
    return torch.nn.functional.silu(gate) * up


def mlp(x: Tensor, weights: Weights, name: str, config: Config) -> Tensor:
    """Return the gated MLP of each row, or what its experts give."""
    if config.get("experts"):
        return experts(x, weights, name, config["experts"])
    inner = swiglu(linear(x, weights, f"{name}.gate_proj"), linear(x, weights, f"{name}.up_proj"))
    return linear(inner, weights, f"{name}.down_proj")


def experts(x: Tensor, weights: Weights, name: str, told: Config) -> Tensor:
    """Return the weighted sum of the best expert of each group, and of the shared one."""
    shares = linear(x, weights, f"{name}.gate").softmax(dim=-1)
    size = told["num_experts"] // told["num_groups"]
    best = shares.view(len(x), told["num_groups"], size).argmax(dim=-1)
    rows = []
    for row in range(len(x)):
        total = mlp(x[row : row + 1], weights, f"{name}.shared_expert", {})
        for group in range(told["num_groups"]):
            expert = group * size + int(best[row, group])
            scale = shares[row, expert] * weights[f"{name}.router_scale"][expert]
            total = total + scale * mlp(x[row : row + 1], weights, f"{name}.experts.{expert}", {})
        rows.append(total)
    return torch.cat(rows)


def near(position_ids: Tensor, key_positions: Tensor, window: int) -> Tensor:
    """Return `[R, S]`: which keys a window of so many tokens leaves; 0 is no window."""
    distance = position_ids[:, None] - key_positions[None, :]
    return distance < window if window else torch.ones_like(distance, dtype=torch.bool)
