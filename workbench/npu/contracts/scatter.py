"""Contract of `npu_scatter_nd_update` and `npu_scatter_nd_update_`."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue, need, shown
from workbench.npu.contracts.tensors import are_unique, has_values, overlap

SCATTER: Final = "npu_scatter_nd_update"
_PAGE: Final = "op-plugin page of npu_scatter_nd_update"

DTYPES: Final = (torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.int64, torch.int8)

DTYPE = Rule(
    "NPU-SCATTER-DTYPE",
    SCATTER,
    "input",
    "float32, float16, bfloat16, bool, int64 or int8 (int32 is not in the list)",
    _PAGE,
    UNSUPPORTED,
)
UPDATE_DTYPE = Rule("NPU-SCATTER-UPDATE-DTYPE", SCATTER, "updates", "the input's dtype", _PAGE, UNSUPPORTED)
INDEX_DTYPE = Rule("NPU-SCATTER-INDEX-DTYPE", SCATTER, "indices", "int32 or int64", _PAGE, UNSUPPORTED)
INDEX_RANK = Rule(
    "NPU-SCATTER-INDEX-RANK",
    SCATTER,
    "indices",
    "2 or more axes, the last no longer than the input has axes (and at most 7)",
    _PAGE,
    UNSUPPORTED,
)
UPDATE_SHAPE = Rule(
    "NPU-SCATTER-UPDATE-SHAPE",
    SCATTER,
    "updates",
    "the outer axes of the indices, then the input's axes that they leave",
    _PAGE,
    UNSUPPORTED,
)
BOUNDS = Rule(
    "NPU-SCATTER-BOUNDS",
    SCATTER,
    "indices",
    "numbers from 0 to the size of the axis less 1, none negative",
    _PAGE,
    "not looked at: writes outside the tensor",
)
UNIQUE = Rule(
    "NPU-SCATTER-UNIQUE",
    SCATTER,
    "indices",
    "no place written twice",
    f"{_PAGE}: which one stays is not promised",
    "one of the updates stays",
    runs=True,
)
ALIAS = Rule(
    "NPU-SCATTER-ALIAS",
    f"{SCATTER}_",
    "updates",
    "memory apart from the input, which is written in place",
    "schema of npu_scatter_nd_update_: Tensor(a!) input",
    "undefined: updates are read while they are overwritten",
)

RULES = catalogue(globals())


def check_scatter_nd_update(input: Tensor, indices: Tensor, updates: Tensor) -> None:  # noqa: A002
    """Check one call of `npu_scatter_nd_update`.

    Raises:
        ContractError: naming the rule.
    """
    _check(input, indices, updates, SCATTER)


def check_scatter_nd_update_(input: Tensor, indices: Tensor, updates: Tensor) -> None:  # noqa: A002
    """Check one call of `npu_scatter_nd_update_`, which writes its input.

    Raises:
        ContractError: naming the rule.
    """
    _check(input, indices, updates, f"{SCATTER}_")
    need(not overlap(input, updates), ALIAS, "memory shared with the input")


def _check(target: Tensor, indices: Tensor, updates: Tensor, operator: str) -> None:
    """Check what both forms share."""
    need(target.dtype in DTYPES, DTYPE, target.dtype, operator=operator)
    need(updates.dtype is target.dtype, UPDATE_DTYPE, updates.dtype, operator=operator)
    need(indices.dtype in {torch.int32, torch.int64}, INDEX_DTYPE, indices.dtype, operator=operator)
    depth = indices.shape[-1] if indices.dim() else 0
    need(indices.dim() >= 2 and 1 <= depth <= min(target.dim(), 7), INDEX_RANK, indices, operator=operator)
    expected = (*indices.shape[:-1], *target.shape[depth:])
    need(
        tuple(updates.shape) == expected, UPDATE_SHAPE, f"{shown(updates)}, not {expected}", operator=operator
    )
    if has_values(indices) and indices.numel():
        limits = torch.tensor(target.shape[:depth], device=indices.device)
        held = not bool(((indices < 0) | (indices >= limits)).any())
        need(held, BOUNDS, f"{int(indices.min())} to {int(indices.max())}", operator=operator)
        need(are_unique(flat_places(target, indices)), UNIQUE, "a repeated place", operator=operator)


def flat_places(target: Tensor, indices: Tensor) -> Tensor:
    """Return int64 [M], the row-major number of each indexed place among the axes that the indices name."""
    place = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=indices.device)
    for axis in range(indices.shape[-1]):
        place = place * target.shape[axis] + indices[..., axis]
    return place.flatten()
