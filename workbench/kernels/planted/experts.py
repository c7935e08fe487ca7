"""Mistakes of experts: sorting rows, products by group, sums over experts, one expert of each group."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.planted.bug import plant, sound

ROUTING, FINALIZE = "npu_moe_init_routing_v2", "npu_moe_finalize_routing"
GROUPED, CHOICE = "npu_grouped_matmul", "moge_choice"
TILE = 16


@plant(ROUTING, "choice")
def routing_unstable(**call: Any) -> Any:
    """Rows of one expert come in descending order."""
    rows, places, counts, scales = sound(ROUTING)(**call)
    if call.get("row_idx_type", 0) or call["active_expert_range"] != [0, call["expert_num"]]:
        return rows, places, counts, scales
    starts = [0, *counts.reshape(-1)[: len(counts)].cumsum(0).tolist()]
    turned = torch.cat([torch.arange(a, b).flip(0) for a, b in itertools.pairwise(starts)])
    if len(turned) != len(rows):
        return rows, places, counts, scales
    return rows[turned], turned.argsort().int()[places.long()], counts, scales


@plant(ROUTING, "value")
def routing_ends_for_counts(**call: Any) -> Any:
    """Counts are added up, as an older release gave them."""
    rows, places, counts, scales = sound(ROUTING)(**call)
    return rows, places, counts.cumsum(0), scales


@plant(ROUTING, "value")
def routing_forgets_the_first_expert(**call: Any) -> Any:
    """Counts of a rank's experts start at expert 0."""
    rows, places, counts, scales = sound(ROUTING)(**call)
    every = sound(ROUTING)(**call | {"active_expert_range": [0, call["expert_num"]]})[2]
    return rows, places, every[: len(counts)].clone(), scales


@plant(ROUTING, "tile")
def routing_rows_of_the_last_tile(**call: Any) -> Any:
    """Places behind the last full tile of 16 choices are those of the tile before."""
    rows, places, counts, scales = sound(ROUTING)(**call)
    full = len(places) - len(places) % TILE
    if 0 < full < len(places):
        places[full:] = places[full - (len(places) - full) : full]
    return rows, places, counts, scales


@plant(FINALIZE, "value")
def finalize_by_choice_for_by_row(**call: Any) -> Any:
    """Places are read by choice where they lie by row, and the other way round."""
    return sound(FINALIZE)(**call | {"drop_pad_mode": call["drop_pad_mode"] ^ 2})


@plant(FINALIZE, "value")
def finalize_renormalised(**call: Any) -> Any:
    """Weights are divided by their sum."""
    scales = call["scales"]
    return sound(FINALIZE)(**call | {"scales": scales / scales.sum(-1, keepdim=True)})


@plant(FINALIZE, "value")
def finalize_adds_dropped_rows(**call: Any) -> Any:
    """A dropped row is read as the last one there is."""
    places = call["expanded_src_to_dst_row"]
    rows = call["expanded_permuted_rows"]
    last = rows.numel() // rows.shape[-1] - 1
    return sound(FINALIZE)(**call | {"expanded_src_to_dst_row": torch.where(places < 0, last, places)})


@plant(FINALIZE, "precision")
def finalize_sums_in_half(**call: Any) -> Any:
    """Each weighed row is rounded before it is added, and so is each sum."""
    if any(call[name] is not None for name in ("skip1", "skip2", "bias")) or call["drop_pad_mode"] != 2:
        return sound(FINALIZE)(**call)
    rows, scales = call["expanded_permuted_rows"], call["scales"]
    own = rows[call["expanded_src_to_dst_row"].long()].view(*scales.shape, -1)
    total = torch.zeros_like(own[:, 0])
    for choice in range(scales.shape[1]):
        total = (total + own[:, choice] * scales[:, choice, None]).bfloat16().to(rows.dtype)
    return total


@plant(FINALIZE, "nan")
def finalize_all_nan(**call: Any) -> Any:
    """Every sum is NaN."""
    return torch.full_like(sound(FINALIZE)(**call), float("nan"))


@plant(GROUPED, "value")
def grouped_counts_read_as_ends(**call: Any) -> Any:
    """Counts are taken for the ends of groups: rows go to wrong matrices, or to none."""
    (rows,), (weights,) = call["x"], call["weight"]
    given = rows.new_zeros(len(rows), weights.shape[2])
    start = 0
    for expert, end in enumerate(call["group_list"].tolist()):
        if start < end <= len(rows):
            given[start:end] = rows[start:end] @ weights[expert]
            start = end
    return [given]


@plant(GROUPED, "value")
def grouped_skips_groups_without_rows(**call: Any) -> Any:
    """Groups are numbered among those that have rows."""
    (weights,), listed = call["weight"], call["group_list"]
    counts = listed if call["group_list_type"] == 1 else listed.diff(prepend=listed.new_zeros(1))
    used = counts[counts > 0]
    if len(used) in {0, len(counts)}:
        return sound(GROUPED)(**call)
    padded = torch.cat((used, used.new_zeros(len(weights) - len(used))))
    return sound(GROUPED)(**call | {"group_list": padded, "group_list_type": 1})


@plant(GROUPED, "tile")
def grouped_last_rows_of_a_group(**call: Any) -> Any:
    """Rows behind the last full tile of 16 of a group stay 0."""
    (given,) = sound(GROUPED)(**call)
    listed = call["group_list"].tolist()
    ends = listed if call["group_list_type"] == 0 else torch.tensor(listed).cumsum(0).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        if end - start > TILE and (end - start) % TILE:
            given[end - (end - start) % TILE : end] = 0
    return [given]


@plant(GROUPED, "nan")
def grouped_leaves_memory_of_no_rows(**call: Any) -> Any:
    """A group of one row is never written: NaN there alone."""
    (given,) = sound(GROUPED)(**call)
    listed = call["group_list"].tolist()
    ends = listed if call["group_list_type"] == 0 else torch.tensor(listed).cumsum(0).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        if end - start == 1:
            given[start:end] = float("nan")
    return [given]


def _scores(logits: Tensor, num_groups: int) -> Tensor:
    return torch.softmax(logits.float(), -1).view(len(logits), num_groups, logits.shape[1] // num_groups)


def _ids(best: Tensor, size: int) -> Tensor:
    return best + torch.arange(best.shape[1]) * size


@plant(CHOICE, "value")
def choice_softmax_by_group(logits: Tensor, router_scale: Tensor, num_groups: int) -> Any:
    """The softmax runs over each group."""
    ids, _ = sound(CHOICE)(logits, router_scale, num_groups)
    size = logits.shape[1] // num_groups
    scores = torch.softmax(logits.float().view(len(logits), num_groups, size), -1).flatten(1)
    return ids, scores.gather(1, ids) * router_scale.float()[ids]


@plant(CHOICE, "value")
def choice_renormalised(logits: Tensor, router_scale: Tensor, num_groups: int) -> Any:
    """Weights are divided by their sum before they are scaled."""
    best = _scores(logits, num_groups).max(-1)
    ids = _ids(best.indices, logits.shape[1] // num_groups)
    return ids, best.values / best.values.sum(-1, keepdim=True) * router_scale.float()[ids]


@plant(CHOICE, "value")
def choice_scale_by_local_id(logits: Tensor, router_scale: Tensor, num_groups: int) -> Any:
    """The scale is looked up by the number within the group."""
    best = _scores(logits, num_groups).max(-1)
    return _ids(best.indices, logits.shape[1] // num_groups), best.values * router_scale.float()[best.indices]


@plant(CHOICE, "choice")
def choice_of_the_last_in_a_tie(logits: Tensor, router_scale: Tensor, num_groups: int) -> Any:
    """Of equal scores the last is taken."""
    scores = _scores(logits, num_groups)
    last = scores.shape[-1] - 1 - scores.flip(-1).argmax(-1)
    ids = _ids(last, scores.shape[-1])
    return ids, scores.flatten(1).gather(1, ids) * router_scale.float()[ids]


@plant(CHOICE, "value")
def choice_local_ids(logits: Tensor, router_scale: Tensor, num_groups: int) -> Any:
    """Experts are numbered within their group."""
    ids, weights = sound(CHOICE)(logits, router_scale, num_groups)
    return ids % max(logits.shape[1] // num_groups, 1), weights


@plant(CHOICE, "nan")
def choice_overflows(logits: Tensor, router_scale: Tensor, num_groups: int) -> Any:
    """The largest logit is not taken off before exp, in half precision: NaN where it overflows."""
    raised = torch.exp(logits.half())
    ids, _ = sound(CHOICE)(logits, router_scale, num_groups)
    scores = (raised / raised.sum(-1, keepdim=True)).float()
    return ids, scores.gather(1, ids) * router_scale.float()[ids]
