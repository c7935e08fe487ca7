"""Rows to their experts and back: `npu_moe_init_routing_v2` and `npu_moe_finalize_routing`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import FLOATS, ContractRule, in_range, need, shown
from workbench.npu.definition import not_modelled, operator

ROUTING: Final = "npu_moe_init_routing_v2"
FINALIZE: Final = "npu_moe_finalize_routing"
_page: Final = "op-plugin page of "
_sort: Final = partial(ContractRule, operator=ROUTING, source=_page + ROUTING)
_join: Final = partial(ContractRule, operator=FINALIZE, source=_page + FINALIZE)
MOST_EXPERTS: Final = {1: 10240, 2: 5120}
"""By `expert_tokens_num_type`."""

SORT_X = _sort("NPU-MOEI-X", "x", "2 axes of float16, bfloat16, float32 or int8")
SORT_IDS = _sort("NPU-MOEI-IDS", "expert_idx", "int32 [rows of x, K]")
SORT_TYPE = _sort("NPU-MOEI-COUNTS", "expert_tokens_num_type", "1 (counts) or 2 (pairs)")
SORT_FLAG = _sort("NPU-MOEI-FLAG", "expert_tokens_num_flag", "True")
SORT_NUM = _sort("NPU-MOEI-EXPERTS", "expert_num", "1 to 10240, to 5120 with pairs")
SORT_RANGE = _sort(
    "NPU-MOEI-RANGE", "active_expert_range", "[first, end) within the experts, at least one of them"
)
SORT_ACTIVE = _sort("NPU-MOEI-ACTIVE", "active_num", "rows of x times K")
SORT_VALUES = _sort("NPU-MOEI-VALUES", "expert_idx", "experts from 0 to expert_num - 1")
SORT_INDEX = _sort("NPU-MOEI-INDEX", "row_idx_type", "0 (gather) or 1 (scatter)")
JOIN_MODE = _join("NPU-MOEF-MODE", "drop_pad_mode", "0 to 3")
JOIN_ROWS = _join(
    "NPU-MOEF-ROWS",
    "expanded_permuted_rows",
    "float16, bfloat16 or float32, [rows * K, H] without dropping and [E, C, H] with it",
)
JOIN_SCALES = _join("NPU-MOEF-SCALES", "scales", "[rows, K] in the dtype of the expanded rows")
JOIN_INDEX = _join("NPU-MOEF-INDEX", "expanded_src_to_dst_row", "int32 [rows * K]")
JOIN_VALUES = _join(
    "NPU-MOEF-VALUES",
    "expanded_src_to_dst_row",
    "rows of the expanded ones; -1, a dropped row, in modes 1 and 3",
)
JOIN_SKIP = _join("NPU-MOEF-SKIP", "skip1", "[rows, H] in the dtype of the expanded rows; skip2 beside skip1")
JOIN_BIAS = _join(
    "NPU-MOEF-BIAS", "bias", "[E, H] in the dtype of the expanded rows, with export_for_source_row"
)
JOIN_EXPERTS = _join(
    "NPU-MOEF-EXPERTS", "export_for_source_row", "int32 [rows, K], experts that the bias has"
)


def check_routing(
    *,
    x: Tensor,
    expert_idx: Tensor,
    active_num: int,
    expert_num: int,
    expert_tokens_num_type: int,
    expert_tokens_num_flag: bool,
    active_expert_range: Sequence[int],
    row_idx_type: int,
) -> None:
    """Check one call that sorts rows by expert."""
    need(x.dim() == 2 and x.dtype in {*FLOATS, torch.int8}, SORT_X, x)
    fits = expert_idx.dim() == 2 and len(expert_idx) == len(x) and expert_idx.dtype is torch.int32
    need(fits, SORT_IDS, expert_idx)
    need(expert_tokens_num_type in MOST_EXPERTS, SORT_TYPE, expert_tokens_num_type)
    need(expert_tokens_num_flag, SORT_FLAG, expert_tokens_num_flag)
    need(1 <= expert_num <= MOST_EXPERTS[expert_tokens_num_type], SORT_NUM, expert_num)
    span = tuple(active_expert_range)
    need(len(span) == 2 and 0 <= span[0] < span[-1] <= expert_num, SORT_RANGE, list(span))
    need(active_num == expert_idx.numel(), SORT_ACTIVE, f"{active_num} for {expert_idx.numel()}")
    need(row_idx_type in {0, 1}, SORT_INDEX, row_idx_type)
    need(in_range(expert_idx, 0, expert_num), SORT_VALUES, "another expert")


@operator(
    f"npu::{ROUTING}",
    check=check_routing,
    covers="rows as they are, without dropping",
    ignored=["expert_capacity"],
)
def npu_moe_init_routing_v2(
    *,
    x: Tensor,
    expert_idx: Tensor,
    expert_num: int,
    expert_tokens_num_type: int,
    active_expert_range: Sequence[int],
    row_idx_type: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sort rows by the expert that they go to; equal ones keep their order.

    Args:
        x: [T, H].
        expert_idx: [T, K].
        expert_num: Experts in all.
        expert_tokens_num_type: 1 counts of the active experts, 2 pairs of an expert and its count.
        active_expert_range: First and end of the experts that are here; rows of others come last, as nothing.
        row_idx_type: 0: where row i * K + k went, -1 if nowhere; 1: which row came to each place.

    Returns:
        rows [T * K, H], NaN (int8: 0) where none of an active expert; their places int32 [T * K]; counts
        int64 [end - first], or pairs [expert_num, 2]; and scales float32 [T * K], which mean nothing here.
    """
    (first, end), flat = active_expert_range, expert_idx.reshape(-1).long()
    is_active = (flat >= first) & (flat < end)
    order = torch.where(flat < first, expert_num, flat).argsort(
        stable=True
    )  # those before the range come last
    count = int(is_active.sum())
    rows = x.new_full((len(flat), x.shape[1]), math.nan if x.is_floating_point() else 0)
    rows[:count] = x[order[:count] // max(expert_idx.shape[1], 1)]
    places = order
    if row_idx_type == 0:
        places = torch.full_like(order, -1)
        places[order[:count]] = torch.arange(count, device=x.device)
    counts = torch.bincount(flat[is_active] - first, minlength=end - first)
    if expert_tokens_num_type == 2:
        counts = _pairs(counts, first, expert_num)
    meaningless = torch.full((len(flat),), math.nan, device=x.device)
    return rows, places.int(), counts, meaningless


def _pairs(counts: Tensor, first: int, expert_num: int) -> Tensor:
    """Return `[expert_num, 2]`: experts with rows and how many, those first; then zeros."""
    used = counts.nonzero()[:, 0]
    pairs = counts.new_zeros(expert_num, 2)
    pairs[: len(used)] = torch.stack((used + first, counts[used]), -1)
    return pairs


def check_finalize(
    *,
    expanded_permuted_rows: Tensor,
    skip1: Tensor | None,
    skip2: Tensor | None,
    bias: Tensor | None,
    scales: Tensor | None,
    expanded_src_to_dst_row: Tensor,
    export_for_source_row: Tensor | None,
    drop_pad_mode: int,
) -> None:
    """Check one call that adds up what experts gave."""
    given = expanded_permuted_rows
    need(0 <= drop_pad_mode <= 3, JOIN_MODE, drop_pad_mode)
    drops = drop_pad_mode % 2 == 1
    need(given.dim() == 2 + drops and given.dtype in FLOATS, JOIN_ROWS, given)
    if scales is None:
        not_modelled(FINALIZE, "a call without scales", "calls with scales")
    need(scales.dim() == 2 and scales.dtype is given.dtype, JOIN_SCALES, scales)
    (rows, _), width = scales.shape, given.shape[-1]
    places = expanded_src_to_dst_row
    need(drops or len(given) == scales.numel(), JOIN_ROWS, f"{shown(given)} for scales {list(scales.shape)}")
    need(tuple(places.shape) == (scales.numel(),) and places.dtype is torch.int32, JOIN_INDEX, places)
    need(in_range(places, -1 if drops else 0, given.numel() // max(width, 1)), JOIN_VALUES, "another row")
    need(skip1 is not None or skip2 is None, JOIN_SKIP, skip2, "skip2")
    for name, skip in (("skip1", skip1), ("skip2", skip2)):
        if skip is not None:
            need(tuple(skip.shape) == (rows, width) and skip.dtype is given.dtype, JOIN_SKIP, skip, name)
    experts = export_for_source_row
    if bias is not None:
        fits = bias.dim() == 2 and bias.shape[1] == width and bias.dtype is given.dtype
        need(fits and experts is not None, JOIN_BIAS, bias)
    if experts is not None:
        fits = experts.shape == scales.shape and experts.dtype is torch.int32
        need(fits and in_range(experts, 0, math.inf if bias is None else len(bias)), JOIN_EXPERTS, experts)


@operator(f"npu::{FINALIZE}", check=check_finalize, covers="its other arguments")
def npu_moe_finalize_routing(
    *,
    expanded_permuted_rows: Tensor,
    skip1: Tensor | None,
    skip2: Tensor | None,
    bias: Tensor | None,
    scales: Tensor,
    expanded_src_to_dst_row: Tensor,
    export_for_source_row: Tensor | None,
    drop_pad_mode: int,
) -> Tensor:
    """Add up what the experts of each row gave, weighed; sums are float32.

    Args:
        expanded_permuted_rows: [T * K, H], or [E, C, H] where experts dropped rows.
        skip1: [T, H], added.
        skip2: [T, H], added.
        bias: [E, H], added to each expert's before the weight.
        scales: Weights [T, K].
        expanded_src_to_dst_row: Where what was given for row i by choice k lies, in modes 2 and 3 at
            i * K + k, in modes 0 and 1 at k * T + i; -1 is dropped.
        export_for_source_row: Experts [T, K].
        drop_pad_mode: 0 to 3.

    Returns:
        [T, H].
    """
    (rows, choices), given = scales.shape, expanded_permuted_rows.flatten(0, -2)
    places = expanded_src_to_dst_row.long()
    by_row = places.view(rows, choices) if drop_pad_mode >= 2 else places.view(choices, rows).t()
    own = given[by_row.clamp(min=0)].float()
    if bias is not None:
        assert export_for_source_row is not None
        own = own + bias[export_for_source_row.long()].float()
    own = torch.where((by_row >= 0)[..., None], own, 0.0)
    summed = (own * scales.float()[..., None]).sum(1)
    for skip in (skip1, skip2):
        summed = summed if skip is None else summed + skip.float()
    return summed.to(given.dtype)
