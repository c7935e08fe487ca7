"""`npu_moe_gating_top_k` and its softmax form: scores in float32, ties go to the lower expert."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import FLOATS, ContractRule, need
from workbench.npu.definition import operator

GATING: Final = "npu_moe_gating_top_k"
_PAGE: Final = "op-plugin page of npu_moe_gating_top_k"
_rule: Final = partial(ContractRule, operator=GATING, source=_PAGE)
_softmax: Final = partial(ContractRule, operator=f"{GATING}_softmax", source=f"{_PAGE}_softmax")
MOST: Final = 2048
"""Largest number of experts, padding of the groups included."""

INPUT = _rule("NPU-MOE-INPUT", "x", "2 axes of float16, bfloat16 or float32")
EXPERTS = _rule("NPU-MOE-EXPERTS", "x", "at most 2048 experts, counting each group as a multiple of 32")
GROUPS = _rule("NPU-MOE-GROUPS", "group_count", "a divisor of the experts")
GROUP_SIZE = _rule(
    "NPU-MOE-GROUP-SIZE",
    "group_count",
    "groups of more than 2 experts",
    source=f"{_PAGE}; the aclnn page asks for more than group_select_mode",
)
K_GROUP = _rule("NPU-MOE-K-GROUP", "k_group", "1 to group_count")
TOP = _rule("NPU-MOE-K", "k", "1 to the experts of k_group groups")
SELECT = _rule("NPU-MOE-GROUP-SELECT", "group_select_mode", "0 or 1")
NORM = _rule("NPU-MOE-NORM-TYPE", "norm_type", "0 (softmax) or 1 (sigmoid)")
RENORM = _rule(
    "NPU-MOE-RENORM",
    "renorm",
    "0",
    source=f"{_PAGE}; the aclnn page allows 1 with softmax",
    device="1 with softmax divides the weights by their sum where it is accepted",
    runs=True,
)
BIAS = _rule("NPU-MOE-BIAS", "bias", "one value per expert in the dtype of x")
SOFTMAX_INPUT = _softmax("NPU-MOES-INPUT", "x", "2 or 3 axes of float16, bfloat16 or float32")
SOFTMAX_TOP = _softmax("NPU-MOES-K", "k", "1 to 1024 and no more than the experts")
FINISHED = _softmax("NPU-MOES-FINISHED", "finished", "bool, one per row")


def check(
    *,
    x: Tensor,
    k: int,
    bias: Tensor | None,
    k_group: int,
    group_count: int,
    group_select_mode: int,
    renorm: int,
    norm_type: int,
) -> None:
    """Check one call with groups."""
    need(x.dim() == 2 and x.dtype in FLOATS, INPUT, x)
    experts = x.shape[1]
    need(group_count > 0 and experts % group_count == 0, GROUPS, group_count)
    size = experts // group_count
    need(-(-size // 32) * 32 * group_count <= MOST, EXPERTS, f"{group_count} groups of {size}")
    need(size > 2, GROUP_SIZE, f"{group_count} groups of {size}")
    need(1 <= k_group <= group_count, K_GROUP, k_group)
    need(1 <= k <= size * k_group, TOP, k)
    need(group_select_mode in {0, 1}, SELECT, group_select_mode)
    need(norm_type in {0, 1}, NORM, norm_type)
    need(renorm == 0, RENORM, renorm)
    if bias is not None:
        need(tuple(bias.shape) == (experts,) and bias.dtype is x.dtype, BIAS, bias)


def check_softmax(x: Tensor, finished: Tensor | None, k: int) -> None:
    """Check one call without groups."""
    need(x.dim() in {2, 3} and x.dtype in FLOATS, SOFTMAX_INPUT, x)
    need(1 <= k <= min(1024, x.shape[-1]), SOFTMAX_TOP, k)
    if finished is not None:
        need(finished.dtype is torch.bool and finished.shape == x.shape[:-1], FINISHED, finished)


@operator(f"npu::{GATING}", check=check, covers="routing without token ids")
def npu_moe_gating_top_k(
    *,
    x: Tensor,
    k: int,
    bias: Tensor | None,
    k_group: int,
    group_count: int,
    group_select_mode: int,
    renorm: int,
    norm_type: int,
    out_flag: bool,
    routed_scaling_factor: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose experts, first whole groups of them.

    Args:
        x: Logits [T, E].
        k: Experts per token.
        bias: [E], moves the choice and not the weights.
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
    """
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
    grouped = scores.unflatten(-1, (group_count, scores.shape[-1] // group_count))  # type: ignore[no-untyped-call]  # untyped in torch
    strength = grouped.topk(2, -1).values.sum(-1) if mode else grouped.amax(-1)
    kept = torch.zeros_like(strength, dtype=torch.bool).scatter(-1, best(strength, k_group), value=True)
    result: Tensor = grouped.masked_fill(~kept.unsqueeze(-1), -math.inf).flatten(-2)
    return result


def best(scores: Tensor, count: int) -> Tensor:
    """Return int64 places of the `count` largest along the last axis; of equals the lower place first."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :count]


@operator(f"npu::{GATING}_softmax", check=check_softmax)
def npu_moe_gating_top_k_softmax(x: Tensor, finished: Tensor | None, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the k largest of the softmax.

    Args:
        x: Logits [T, E] or [B, S, E].
        finished: Bool, x.shape[:-1]; such rows get the expert number E.
        k: Experts per row.

    Returns:
        weights in the dtype of x, expert ids int32, and row numbers int32 (j * rows + i for choice j
        of row i), each [..., k].
    """
    scores = torch.softmax(x.float(), -1)
    experts = best(scores, k)
    weights = scores.gather(-1, experts).to(x.dtype)
    if finished is not None:
        experts = experts.masked_fill(finished.unsqueeze(-1), x.shape[-1])
    rows = math.prod(x.shape[:-1])
    row_numbers = torch.arange(rows * k, dtype=torch.int32, device=x.device).view(k, rows).t()
    return weights, experts.int(), row_numbers.reshape(experts.shape).contiguous()
