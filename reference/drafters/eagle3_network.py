"""The EAGLE-3 drafter over an explicit sequence: one block over [normed embedding; normed feature]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reference.arithmetic import at_least_float32, linear, rms_norm
from reference.attention import attend, gated_mlp
from reference.model import ReferenceModels
from reference.rope import rotation


@dataclass(frozen=True, slots=True)
class DrafterRows:
    """What the drafter computed for R new rows, the last Q of which asked.

    Attributes:
        hidden: Feature that the next draft row takes, `[Q, hidden]`; un-normed unless `norm_output`.
        logprobs: Log-probabilities over the draft vocabulary, float32 or better, `[Q, Vd]`.
        kv: Keys after rotary and values of the new rows, `[1, 2, kv_heads, R, D]`.
        query: After rotary, `[H, Q, D]`.
    """

    hidden: Tensor
    logprobs: Tensor
    kv: Tensor
    query: Tensor


@torch.no_grad()
def fuse_features(models: ReferenceModels, features: Tensor) -> Tensor:
    """Return the drafter's input features `[R, hidden]` from tapped teacher features `[R, 3 * H_target]`."""
    config, weights, arithmetic = models.drafter, models.drafter_weights, models.arithmetic
    if config.fc_norm:
        taps = features.view(features.shape[0], 3, config.target_hidden_size)
        normed = [
            rms_norm(taps[:, tap], weights[f"fc_norm.{tap}.weight"], config.rms_norm_eps, arithmetic)
            for tap in range(3)
        ]
        features = torch.cat(normed, dim=-1)
    if config.norm_before_fc:
        features = rms_norm(features, weights["input_norm.weight"], config.rms_norm_eps, arithmetic)
    return linear(features, weights, "fc", arithmetic)


@torch.no_grad()
def forward(
    models: ReferenceModels,
    token_ids: Tensor,
    inputs: Tensor,
    position_ids: Tensor,
    visible: Tensor,
    *,
    past_kv: Tensor | None = None,
) -> DrafterRows:
    """Run the drafter over R new rows; only the last Q of them ask, all of them are seen.

    Args:
        models: Weights and arithmetic.
        token_ids: Target token of each row, int64 `[R]`: the one *after* the row's feature.
        inputs: Feature of each row, `[R, hidden]`: fused teacher features, or the drafter's own `hidden`.
        position_ids: Positions from 0, int64 `[R]`; the row of (feature j, token j + 1) has position j.
            Rotary ones lie the models' offset further on.
        visible: bool `[Q, S + R]`, True attends; a window is already in it.
        past_kv: Of S earlier rows, `[1, 2, kv_heads, S, D]`, or None.
    """
    config, weights, arithmetic = models.drafter, models.drafter_weights, models.arithmetic
    num_asking, rotary = visible.shape[0], position_ids + models.rotary_offset

    def norm(x: Tensor, name: str) -> Tensor:
        return rms_norm(x, weights[f"{name}.weight"], config.rms_norm_eps, arithmetic)

    normed_inputs = norm(inputs, "midlayer.hidden_norm")
    embedded = norm(weights["embed_tokens.weight"][token_ids], "midlayer.input_layernorm")
    attended = attend(
        torch.cat([embedded, normed_inputs], dim=-1),
        weights=weights,
        prefix="midlayer.self_attn",
        config=config,
        turns=rotation(config.rope, config.head_dim, rotary, config.max_position_embeddings, models.dtype),
        visible=visible,
        past=None if past_kv is None else past_kv[0],
        arithmetic=arithmetic,
    )
    residual = normed_inputs if config.norm_before_residual else inputs
    x = residual[residual.shape[0] - num_asking :] + attended.output
    x = x + gated_mlp(norm(x, "midlayer.post_attention_layernorm"), weights, "midlayer.mlp", arithmetic)
    normed = norm(x, "norm")
    logits = linear(normed, weights, "lm_head", arithmetic)
    return DrafterRows(
        hidden=normed if config.norm_output else x,
        logprobs=torch.log_softmax(logits.to(at_least_float32(logits.dtype)), dim=-1),
        kv=torch.stack([attended.key, attended.value])[None],
        query=attended.query,
    )
