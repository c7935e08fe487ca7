"""`npu_grouped_matmul`: every group of rows times a matrix of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import FLOATS, ContractRule, has_values, need
from workbench.npu.definition import not_modelled, operator

GROUPED: Final = "npu_grouped_matmul"
_product: Final = partial(ContractRule, operator=GROUPED, source=f"op-plugin page of {GROUPED}")
MOST_GROUPS: Final = 1024
INNER_LIMIT: Final = 65536

X = _product("NPU-GMM-X", "x", "2 axes of float16, bfloat16 or float32")
WEIGHT = _product(
    "NPU-GMM-WEIGHT", "weight", "[E, K, N] in the dtype of x, contiguous or the transposed view of [E, N, K]"
)
INNER = _product("NPU-GMM-K", "weight", "the K of x")
LIMIT = _product("NPU-GMM-LIMIT", "weight", "contiguous axes below 65536")
SPLIT = _product("NPU-GMM-SPLIT", "split_item", "2 or 3 for one output")
TYPE = _product("NPU-GMM-TYPE", "group_type", "0 (rows of x), which a tensor of groups asks for")
LIST_TYPE = _product("NPU-GMM-LIST-TYPE", "group_list_type", "0 (ends) or 1 (counts); 2 with int8 alone")
GROUPS = _product(
    "NPU-GMM-GROUPS", "group_list", "int64, one entry for each of up to 1024 experts; counts of more than one"
)
ROWS = _product(
    "NPU-GMM-ROWS", "group_list", "counts that are not negative, or ends that ascend; all rows of x"
)
COVERS: Final = "one x, one weight of three axes and a tensor of groups, without quantisation"


def check_product(
    *,
    x: Sequence[Tensor],
    weight: Sequence[Tensor],
    group_list: Tensor | None,
    split_item: int,
    group_type: int | None,
    group_list_type: int,
) -> None:
    """Check one product by groups of rows."""
    if len(x) != 1 or len(weight) != 1 or group_list is None:
        not_modelled(GROUPED, f"{len(x)} x and {len(weight)} weights", COVERS)
    (rows,), (weights,) = x, weight
    need(rows.dim() == 2 and rows.dtype in FLOATS, X, rows)
    plain = weights.dim() == 3 and (weights.is_contiguous() or weights.transpose(1, 2).is_contiguous())
    need(plain and weights.dtype is rows.dtype, WEIGHT, weights)
    need(weights.shape[1] == rows.shape[1], INNER, f"K = {weights.shape[1]} with {rows.shape[1]}")
    contiguous = weights.shape[2] if weights.is_contiguous() else weights.shape[1]
    need(max(contiguous, rows.shape[1]) < INNER_LIMIT, LIMIT, weights)
    need(split_item in {2, 3}, SPLIT, split_item)
    need(group_type == 0, TYPE, group_type)
    need(group_list_type in {0, 1}, LIST_TYPE, group_list_type)
    one_each = tuple(group_list.shape) == (len(weights),) and group_list.dtype is torch.int64
    held = len(weights) <= MOST_GROUPS and not (group_list_type == 1 and len(weights) == 1)
    need(one_each and held, GROUPS, group_list)
    if has_values(group_list):
        counts = group_counts(group_list, group_list_type)
        need(min(counts) >= 0 and sum(counts) == len(rows), ROWS, f"{counts} for {len(rows)} rows")


def group_counts(group_list: Tensor, group_list_type: int) -> list[int]:
    """Return the rows of each group, of counts or of ends."""
    listed: list[int] = group_list.tolist()
    return (
        listed
        if group_list_type == 1
        else [end - start for start, end in zip([0, *listed], listed, strict=False)]
    )


@operator(f"npu::{GROUPED}", check=check_product, covers=COVERS)
def npu_grouped_matmul(
    *, x: Sequence[Tensor], weight: Sequence[Tensor], group_list: Tensor, group_list_type: int
) -> list[Tensor]:
    """Multiply each group of rows by its own matrix; sums are float32, the result is rounded once.

    Args:
        x: One tensor [M, K], rows of a group beside each other.
        weight: One tensor [E, K, N].
        group_list: Ends or counts of the groups, int64 [E].
        group_list_type: 0 ends, 1 counts.

    Returns:
        One tensor [M, N] in a list.
    """
    (rows,), (weights,) = x, weight
    given = rows.new_empty(len(rows), weights.shape[2])
    start = 0
    for expert, count in enumerate(group_counts(group_list, group_list_type)):
        if count:
            end = start + count
            given[start:end] = rows[start:end] @ weights[expert]
            start = end
    return [given]
