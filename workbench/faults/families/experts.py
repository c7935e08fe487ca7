"""Faults of experts in groups: scores, weights, numbers, and rows that go to the wrong expert or to none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from workbench.faults.families.kernels import PREFILL
from workbench.faults.fault import fault
from workbench.faults.placement import on_function, on_operator, within
from workbench.fused import experts

Given = tuple[Tensor, Tensor]
Routed = Callable[[Tensor, Tensor, int], Given]
Operator = Callable[..., Any]
CHOICE: Final = ("JUDGE-EXPERTS",)
VOTED: Final = 2
"""Experts of a group that a vote keeps."""
CAPACITY: Final = 2
"""Rows that an expert takes."""

choosing: Final = partial(fault, stage="prefill", placed=on_function(experts, "routed"), need="experts")
multiplying: Final = partial(fault, stage="prefill", noticed_by=PREFILL, need="experts")


@choosing("F-MOE-01", "arXiv 2505.21411: the softmax runs over all experts", noticed_by=PREFILL)
def softmax_by_group(route: Routed, logits: Tensor, scale: Tensor, groups: int) -> Given:
    """The softmax of each group weighs its expert."""
    ids, _ = route(logits, scale, groups)
    scores = torch.softmax(logits.float().view(len(logits), groups, -1), -1).flatten(1)
    return ids, scores.gather(1, ids) * scale.float()[ids]


@choosing("F-MOE-02", "lablup/mlxcel#391", "pytorch/torchtitan#1448", noticed_by=PREFILL)
def expert_weights_renormalised(route: Routed, logits: Tensor, scale: Tensor, groups: int) -> Given:
    """The weights of a row's experts are divided by their sum."""
    ids, weights = route(logits, scale, groups)
    return ids, weights / weights.sum(-1, keepdim=True)


@choosing("F-MOE-03", "vllm-ascend: the scale is a global of its module", noticed_by=PREFILL)
def scale_of_another_expert(route: Routed, logits: Tensor, scale: Tensor, groups: int) -> Given:
    """The router's scales are off by one expert."""
    return route(logits, scale.roll(1), groups)


@choosing("F-MOE-04", "va#2437", noticed_by=PREFILL)
def router_scale_twice(route: Routed, logits: Tensor, scale: Tensor, groups: int) -> Given:
    """The router's scale is applied in the choice and once more where outputs are added up."""
    ids, weights = route(logits, scale, groups)
    return ids, weights * scale.float()[ids]


@choosing(
    "F-MOE-05",
    "torch.max: which of equal values is open",
    stage="verify",
    noticed_by=CHOICE,
    need="twin_experts",
)
def last_expert_of_a_tie(_: Routed, logits: Tensor, scale: Tensor, groups: int) -> Given:
    """Of equal scores of a group the last is taken."""
    scores = torch.softmax(logits.float(), -1)
    by_group = scores.view(len(scores), groups, -1)
    size = by_group.shape[-1]
    ids = size - 1 - by_group.flip(-1).argmax(-1) + torch.arange(groups, device=scores.device) * size
    return ids, scores.gather(1, ids) * scale.float()[ids]


@choosing("F-MOE-06", "vllm-project/vllm-gaudi#1796", noticed_by=CHOICE)
def expert_ids_of_a_rank(route: Routed, logits: Tensor, scale: Tensor, groups: int) -> Given:
    """Experts are numbered within their half, as on one of two ranks."""
    ids, weights = route(logits, scale, groups)
    return ids % (logits.shape[1] // 2), weights


@choosing("F-MOE-07", "va#1421", noticed_by=CHOICE)
def vote_of_the_batch(route: Routed, logits: Tensor, scale: Tensor, groups: int) -> Given:
    """Only the experts of each group that most rows of a launch have first may work."""
    ids, _ = route(logits, scale, groups)
    scores = torch.softmax(logits.float(), -1).view(len(logits), groups, -1)
    size = scores.shape[-1]
    votes = torch.bincount(ids.flatten(), minlength=logits.shape[1]).view(groups, size)
    kept = torch.zeros_like(votes, dtype=torch.bool)
    kept.scatter_(1, votes.argsort(dim=-1, descending=True, stable=True)[:, :VOTED], value=True)
    best = scores.masked_fill(~kept, -1.0).max(-1)
    chosen = best.indices + torch.arange(groups, device=ids.device) * size
    return chosen, best.values * scale.float()[chosen]


@choosing("F-MOE-08", "arXiv 2505.21411 against a choice of the best of all", noticed_by=CHOICE)
def best_of_all_experts(_: Routed, logits: Tensor, scale: Tensor, groups: int) -> Given:
    """The best experts of all work, whatever their groups."""
    best = torch.softmax(logits.float(), -1).topk(groups, -1)
    return best.indices, best.values * scale.float()[best.indices]


@multiplying("F-MOE-09", "deepspeedai/DeepSpeed#6809", placed=on_operator("npu_moe_finalize_routing"))
def rows_beyond_the_capacity_dropped(operator: Operator, *given: Any, **options: Any) -> Any:
    """An expert takes two rows of a launch; what it would give for others is left out."""
    rows, *between, scales, places, chosen = given
    flat = chosen.flatten()
    earlier = (flat[:, None] == flat[None]).tril(-1).sum(1)
    kept = (earlier < CAPACITY).view(scales.shape)
    return operator(rows, *between, scales * kept, places, chosen, **options)


@multiplying("F-MOE-10", "va#1223", placed=on_operator("npu_grouped_matmul"))
def counts_of_the_next_expert(operator: Operator, *given: Any, **options: Any) -> Any:
    """The counts of rows are off by one expert."""
    return operator(*given, **(options | {"group_list": options["group_list"].roll(-1)}))


@multiplying(
    "F-MOE-11",
    "places by row and by choice: drop_pad_mode 0 and 2",
    placed=on_operator("npu_moe_finalize_routing"),
)
def places_by_choice(operator: Operator, *given: Any, **options: Any) -> Any:
    """What experts gave is added up as if it lay choice by choice."""
    return operator(*given, **(options | {"drop_pad_mode": 0}))


@fault(
    "F-MOE-12",
    "va#1421",
    stage="verify",
    noticed_by=("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS"),
    placed=within("verify", "npu_moe_finalize_routing"),
    need="experts",
)
def expert_outputs_rounded_in_verify(operator: Operator, rows: Tensor, *rest: Any, **options: Any) -> Any:
    """What experts give for the nodes of a tree is kept in bfloat16."""
    return operator(rows.bfloat16().to(rows.dtype), *rest, **options)
