"""A decoder-only model over a whole sequence, without a cache."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config, Weights
from workbench.reduce.plain.operators import attention, linear, mlp, near, norm, rotary


def layer(
    x: Tensor,
    normed: Tensor,
    position_ids: Tensor,
    visible: Tensor,
    weights: Weights,
    name: str,
    config: Config,
    past: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one block: attention, then the MLP.

    Args:
        x: Residual stream `[R, hidden]`.
        normed: What attention reads, `[R, ...]`.
        position_ids: Rotary positions `[R]`.
        visible: `[R, S + R]`, True attends.
        weights: Of the model.
        name: Of the block, e.g. `model.layers.0`.
        config: Of the model.
        past: Keys and values of S rows before these, each `[S, H_kv, D]`.

    Returns:
        Residual stream, keys and values of the R rows.
    """
    attn, size = f"{name}.self_attn", config["head_dim"]
    query = linear(normed, weights, f"{attn}.q_proj").view(len(x), -1, size)
    key = linear(normed, weights, f"{attn}.k_proj").view(len(x), -1, size)
    value = linear(normed, weights, f"{attn}.v_proj").view(len(x), -1, size)
    if config["qk_norm"]:
        query = norm(query, weights, f"{attn}.q_norm", config)
        key = norm(key, weights, f"{attn}.k_norm", config)
    query, key = rotary(query, position_ids, config), rotary(key, position_ids, config)
    keys = key if past is None else torch.cat([past[0], key])
    values = value if past is None else torch.cat([past[1], value])
    mixed = attention(query, keys, values, visible)
    x = x + linear(mixed.flatten(1), weights, f"{attn}.o_proj")
    x = x + mlp(norm(x, weights, f"{name}.post_attention_layernorm", config), weights, f"{name}.mlp", config)
    return x, key, value


def run_model(
    token_ids: Tensor, position_ids: Tensor, visible: Tensor, weights: Weights, config: Config
) -> dict[str, Tensor]:
    """Run all rows of a sequence, or of a tree behind one, in one forward.

    Args:
        token_ids: `[R]`.
        position_ids: Rotary positions `[R]`.
        visible: `[R, R]`, True attends.
        weights: Of the model.
        config: Of the model.

    Returns:
        `logits` `[R, V]`, `features` `[R, F]` that a drafter reads, `kv` `[layers, 2, H_kv, R, D]`.
    """
    x = weights["model.embed_tokens.weight"][token_ids]
    entering, cached = [], []
    for number, window in enumerate(config["windows"]):
        entering.append(x)
        name = f"model.layers.{number}"
        normed = norm(x, weights, f"{name}.input_layernorm", config)
        seen = visible & near(position_ids, position_ids, window)
        x, key, value = layer(x, normed, position_ids, seen, weights, name, config)
        cached.append(torch.stack([key.transpose(0, 1), value.transpose(0, 1)]))
    entering.append(x)
    final = norm(x, weights, "model.norm", config)
    taps = [entering[number] for number in config["tapped_layers"]]
    taps += [final] if config["taps_final_hidden"] else []
    return {
        "logits": linear(final, weights, "lm_head"),
        "features": torch.cat(taps, dim=-1) if taps else final[:, :0],
        "kv": torch.stack(cached),
    }


def causal(count: int) -> Tensor:
    """Return `[count, count]`: each row sees itself and the rows before it."""
    return torch.ones(count, count, dtype=torch.bool).tril()
