"""Twins of the two gating operators: scores in float32, ties go to the lower expert."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.npu.contracts.moe import check_moe_gating_top_k, check_moe_gating_top_k_softmax


def npu_moe_gating_top_k(
    x: Tensor,
    k: int,
    *,
    bias: Tensor | None = None,
    input_ids: Tensor | None = None,
    tid2eid: Tensor | None = None,
    k_group: int = 1,
    group_count: int = 1,
    group_select_mode: int = 0,
    renorm: int = 0,
    norm_type: int = 0,
    out_flag: bool = False,
    routed_scaling_factor: float = 1.0,
    eps: float = 1e-20,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose experts, first whole groups of them.

    Args:
        x: Logits [T, E].
        k: Experts per token.
        bias: [E], moves the choice and not the weights.
        input_ids: Not covered.
        tid2eid: Not covered.
        k_group: Groups kept.
        group_count: Groups of equal size.
        group_select_mode: A group's score is its best (0) or the sum of its best two (1).
        renorm: 1 divides softmax weights by their sum; refused in strict mode.
        norm_type: 0 softmax, 1 sigmoid; sigmoid weights are always divided by their sum.
        out_flag: Whether the scores are wanted; NaN where the device leaves them undefined.
        routed_scaling_factor: Last factor on the weights.
        eps: Added to the sum that divides.

    Returns:
        weights [T, k] in the dtype of x, expert ids int32 [T, k], scores float32 [T, E].

    Raises:
        ContractError: when the call breaks a rule.
        NotModelledError: for routing by token id.
    """
    check_moe_gating_top_k(
        x,
        k,
        bias=bias,
        input_ids=input_ids,
        tid2eid=tid2eid,
        k_group=k_group,
        group_count=group_count,
        group_select_mode=group_select_mode,
        renorm=renorm,
        norm_type=norm_type,
    )
    scores = torch.sigmoid(x.float()) if norm_type else torch.softmax(x.float(), -1)
    selected = scores if bias is None else scores + bias.float()
    if group_count > 1:
        selected = keep_groups(selected, k_group, group_count, group_select_mode)
    experts = best(selected, k)
    weights = scores.gather(-1, experts)
    if norm_type or renorm:
        weights = weights / (weights.sum(-1, keepdim=True) + eps)
    shown = scores if out_flag else torch.full_like(scores, math.nan)
    return (weights * routed_scaling_factor).to(x.dtype), experts.int(), shown


def keep_groups(scores: Tensor, k_group: int, group_count: int, mode: int) -> Tensor:
    """Return the scores [T, E] with -inf outside the `k_group` best groups."""
    grouped = scores.unflatten(-1, (group_count, scores.shape[-1] // group_count))  # type: ignore[no-untyped-call]
    strength = grouped.topk(2, -1).values.sum(-1) if mode else grouped.amax(-1)
    kept = torch.zeros_like(strength, dtype=torch.bool).scatter(-1, best(strength, k_group), value=True)
    result: Tensor = grouped.masked_fill(~kept.unsqueeze(-1), -math.inf).flatten(-2)
    return result


def best(scores: Tensor, count: int) -> Tensor:
    """Return int64 places of the `count` largest along the last axis; of equals the lower place first."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :count]


def npu_moe_gating_top_k_softmax(
    x: Tensor, finished: Tensor | None = None, k: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the k largest of the softmax.

    Args:
        x: Logits [T, E] or [B, S, E].
        finished: Bool, x.shape[:-1]; such rows get the expert number E.
        k: Experts per row.

    Returns:
        weights in the dtype of x, expert ids int32, and row numbers int32 (j * rows + i for choice j
        of row i), each [..., k].

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_moe_gating_top_k_softmax(x, finished, k)
    scores = torch.softmax(x.float(), -1)
    experts = best(scores, k)
    weights = scores.gather(-1, experts).to(x.dtype)
    if finished is not None:
        experts = experts.masked_fill(finished.unsqueeze(-1), x.shape[-1])
    rows = math.prod(x.shape[:-1])
    row_numbers = torch.arange(rows * k, dtype=torch.int32, device=x.device).view(k, rows).t()
    return weights, experts.int(), row_numbers.reshape(experts.shape).contiguous()
