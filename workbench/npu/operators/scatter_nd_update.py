"""`npu_scatter_nd_update` and its in-place form."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import ContractRule, are_unique, has_values, need, overlap, shown
from workbench.npu.definition import operator

SCATTER: Final = "npu_scatter_nd_update"
_PAGE: Final = "op-plugin page of npu_scatter_nd_update"
_rule: Final = partial(ContractRule, operator=SCATTER, source=_PAGE)
DTYPES: Final = (torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.int64, torch.int8)

DTYPE = _rule(
    "NPU-SCATTER-DTYPE",
    "input",
    "float32, float16, bfloat16, bool, int64 or int8 (int32 is not in the list)",
)
UPDATE_DTYPE = _rule("NPU-SCATTER-UPDATE-DTYPE", "updates", "the input's dtype")
INDEX_DTYPE = _rule("NPU-SCATTER-INDEX-DTYPE", "indices", "int32 or int64")
INDEX_RANK = _rule(
    "NPU-SCATTER-INDEX-RANK",
    "indices",
    "2 or more axes, the last no longer than the input has axes (and at most 7)",
)
UPDATE_SHAPE = _rule(
    "NPU-SCATTER-UPDATE-SHAPE",
    "updates",
    "the outer axes of the indices, then the input's axes that they leave",
)
BOUNDS = _rule(
    "NPU-SCATTER-BOUNDS",
    "indices",
    "numbers from 0 to the size of the axis less 1, none negative",
    device="not looked at: writes outside the tensor",
)
UNIQUE = _rule(
    "NPU-SCATTER-UNIQUE",
    "indices",
    "no place written twice",
    source=f"{_PAGE}: which one stays is not promised",
    device="one of the updates stays",
    runs=True,
)
ALIAS = _rule(
    "NPU-SCATTER-ALIAS",
    "updates",
    "memory apart from the input, which is written in place",
    operator=f"{SCATTER}_",
    source="schema of npu_scatter_nd_update_: Tensor(a!) input",
    device="undefined: updates are read while they are overwritten",
)


def check(input: Tensor, indices: Tensor, updates: Tensor) -> None:  # noqa: A002  # schema name
    """Check one call of either form."""
    need(input.dtype in DTYPES, DTYPE, input.dtype)
    need(updates.dtype is input.dtype, UPDATE_DTYPE, updates.dtype)
    need(indices.dtype in {torch.int32, torch.int64}, INDEX_DTYPE, indices.dtype)
    depth = indices.shape[-1] if indices.dim() else 0
    need(indices.dim() >= 2 and 1 <= depth <= min(input.dim(), 7), INDEX_RANK, indices)
    expected = (*indices.shape[:-1], *input.shape[depth:])
    need(tuple(updates.shape) == expected, UPDATE_SHAPE, f"{shown(updates)}, not {expected}")
    if has_values(indices) and indices.numel():
        limits = torch.tensor(input.shape[:depth], device=indices.device)
        held = not bool(((indices < 0) | (indices >= limits)).any())
        need(held, BOUNDS, f"{int(indices.min())} to {int(indices.max())}")
        need(are_unique(flat_places(input, indices)), UNIQUE, "a repeated place")


def check_in_place(input: Tensor, indices: Tensor, updates: Tensor) -> None:  # noqa: A002  # schema name
    """Check one call of the form that writes its input."""
    check(input, indices, updates)
    need(not overlap(input, updates), ALIAS, "memory shared with the input")


def flat_places(target: Tensor, indices: Tensor) -> Tensor:
    """Return int64 [M], the row-major number of each indexed place among the axes that the indices name."""
    place = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=indices.device)
    for axis in range(indices.shape[-1]):
        place = place * target.shape[axis] + indices[..., axis]
    return place.flatten()


@operator(f"npu::{SCATTER}", check=check)
def npu_scatter_nd_update(input: Tensor, indices: Tensor, updates: Tensor) -> Tensor:  # noqa: A002
    """Return a copy of `input` with `updates` written at `indices`.

    Args:
        input: Any of the six dtypes of the contract.
        indices: int32 or int64 [..., a], places along the first a axes.
        updates: [..., *input.shape[a:]].
    """
    return write(input.clone(), indices, updates)


@operator(f"npu::{SCATTER}_", check=check_in_place)
def npu_scatter_nd_update_(input: Tensor, indices: Tensor, updates: Tensor) -> Tensor:  # noqa: A002
    """Write `updates` into `input` at `indices` and return it."""
    return write(input, indices, updates)


def write(target: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Write in place; of repeated places (hardware mode) the last one stays here."""
    depth = indices.shape[-1]
    target[tuple(indices.reshape(-1, depth).long().unbind(-1))] = updates.reshape(-1, *target.shape[depth:])
    return target
