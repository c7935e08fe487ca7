"""The teacher over an explicit sequence: `forward` at given positions and visibility, `prefill` in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from reference.arithmetic import linear, rms_norm
from reference.attention import attend, gated_mlp
from reference.experts import Routing, experts_mlp
from reference.model import ReferenceModels
from reference.rope import rotation
from reference.visible import causal, near


@dataclass(frozen=True, slots=True)
class TeacherRows:
    """What the teacher computed for R new rows.

    Attributes:
        logits: Of the last rows asked for, `[num_logits, V]`.
        features: Tapped rows side by side, `[R, F]`; F is 0 without taps.
        kv: Keys after rotary and values, `[layers, 2, kv_heads, R, D]`.
        visible: What the attention of the layer that is shown was given, bool `[R, S + R]`.
        routing: Of the rows that ran, and in `verify` of the committed ones too; None without experts.
    """

    logits: Tensor
    features: Tensor
    kv: Tensor
    visible: Tensor
    routing: Routing | None = None


def prefill(
    models: ReferenceModels, token_ids: Iterable[int], *, chosen: Tensor | None = None
) -> TeacherRows:
    """Run the teacher over a sequence from its start; logits of the last row only, `[1, V]`.

    `chosen` is as `forward` takes it, of all rows.
    """
    tokens = models.tokens(token_ids)
    positions = torch.arange(len(tokens), device=models.device)
    visible = causal(len(tokens), None, models.device)
    return forward(models, tokens, positions, visible, num_logits=1, chosen=chosen)


@torch.no_grad()
def forward(
    models: ReferenceModels,
    token_ids: Tensor,
    position_ids: Tensor,
    visible: Tensor,
    *,
    past_kv: Tensor | None = None,
    past_positions: Tensor | None = None,
    num_logits: int | None = None,
    chosen: Tensor | None = None,
) -> TeacherRows:
    """Run every block over R new rows.

    Args:
        models: Weights and arithmetic.
        token_ids: int64 `[R]`, in range.
        position_ids: Positions from 0, int64 `[R]`; rotary ones lie the models' offset further on.
        visible: bool `[R, S + R]`, True attends; each layer leaves of it what its window reaches.
        past_kv: Of S earlier rows, `[layers, 2, kv_heads, S, D]`, or None.
        past_positions: Of those rows, int64 `[S]`; 0 to S - 1 by default.
        num_logits: Logits of the last so many rows; all by default.
        chosen: Experts that have to work on each row, one per group, int64 `[layers, R, num_groups]`; -1
            leaves a choice to the router.
    """
    config, weights, arithmetic = models.teacher, models.teacher_weights, models.arithmetic
    rotary = position_ids + models.rotary_offset
    turns = rotation(config.rope, config.head_dim, rotary, config.max_position_embeddings, models.dtype)
    if past_positions is None:
        past_positions = torch.arange(0 if past_kv is None else past_kv.shape[3], device=models.device)
    key_positions = torch.cat([past_positions, position_ids])
    seen = {window: visible & near(position_ids, key_positions, window) for window in set(config.windows)}
    x = weights["model.embed_tokens.weight"][token_ids]
    entering: list[Tensor] = []
    rows_kv: list[Tensor] = []
    routed: list[tuple[Tensor, Tensor]] = []
    for layer in range(config.num_layers):
        entering.append(x)
        name = f"model.layers.{layer}"
        attended = attend(
            rms_norm(x, weights[f"{name}.input_layernorm.weight"], config.rms_norm_eps, arithmetic),
            weights=weights,
            prefix=f"{name}.self_attn",
            config=config,
            turns=turns,
            visible=seen[config.windows[layer]],
            past=None if past_kv is None else past_kv[layer],
            arithmetic=arithmetic,
        )
        rows_kv.append(torch.stack([attended.key, attended.value]))
        x = x + attended.output
        normed = rms_norm(
            x, weights[f"{name}.post_attention_layernorm.weight"], config.rms_norm_eps, arithmetic
        )
        if config.experts is None:
            x = x + gated_mlp(normed, weights, f"{name}.mlp", arithmetic)
            continue
        forced = None if chosen is None else chosen[layer]
        moved, of_layer = experts_mlp(
            normed, weights, f"{name}.mlp", config.experts, arithmetic, chosen=forced
        )
        x = x + moved
        routed.append(of_layer)
    entering.append(x)
    asked = x if num_logits is None else x[x.shape[0] - num_logits :]
    last = rms_norm(asked, weights["model.norm.weight"], config.rms_norm_eps, arithmetic)
    taps = models.pair.taps
    tapped = [entering[layer] for layer in taps.layers]
    if taps.final_hidden:
        tapped.append(rms_norm(x, weights["model.norm.weight"], config.rms_norm_eps, arithmetic))
    return TeacherRows(
        logits=linear(last, weights, "lm_head", arithmetic),
        features=torch.cat(tapped, dim=-1) if tapped else x[:, :0],
        kv=torch.stack(rows_kv),
        visible=seen[config.windows[models.shown_layer]],
        routing=Routing.of_layers(routed),
    )
