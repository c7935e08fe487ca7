"""Twins of `npu_scatter_nd_update` and its in-place form."""

from __future__ import annotations

from torch import Tensor

from workbench.npu.contracts.scatter import (
    check_scatter_nd_update,
    check_scatter_nd_update_,
)


def npu_scatter_nd_update(input: Tensor, indices: Tensor, updates: Tensor) -> Tensor:  # noqa: A002
    """Return a copy of `input` with `updates` written at `indices`.

    Args:
        input: Any of the six dtypes of the contract.
        indices: int32 or int64 [..., a], places along the first a axes.
        updates: [..., *input.shape[a:]].

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_scatter_nd_update(input, indices, updates)
    return write(input.clone(), indices, updates)


def npu_scatter_nd_update_(input: Tensor, indices: Tensor, updates: Tensor) -> Tensor:  # noqa: A002
    """Write `updates` into `input` at `indices` and return it.

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_scatter_nd_update_(input, indices, updates)
    return write(input, indices, updates)


def write(target: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Write in place; of repeated places (hardware mode) the last one stays here."""
    depth = indices.shape[-1]
    target[tuple(indices.reshape(-1, depth).long().unbind(-1))] = updates.reshape(-1, *target.shape[depth:])
    return target
