"""Find the index tensors of a torch operator call, each with the size of the axis that it indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

IndexRead = tuple[Tensor, int]
"""An integer index tensor and its bound: legal values are 0..bound - 1."""

_MASKS = (torch.bool, torch.uint8)  # torch reads both as boolean masks inside x[...]


def index_reads(name: str, arguments: Sequence[Any]) -> list[IndexRead]:
    """Return the index tensors of a call with their bounds; empty ones and masks are left out.

    Args:
        name: Plain operator name, a key of `workbench.npu.index_rules.INDEX_RULES`.
        arguments: The operator's positional arguments, as a dispatch mode sees them.
    """
    return [(index, bound) for index, bound in _READERS[name](arguments) if index.numel() > 0]


def _of_index_list(arguments: Sequence[Any]) -> Iterable[IndexRead]:
    """`x[a, None, b]`: each index takes one axis, a mask as many as it has, a hole one."""
    target, indices = arguments[0], arguments[1]
    axis = 0
    for index in indices:
        if index is not None and index.dtype in _MASKS:
            axis += index.dim()
            continue
        if index is not None:
            yield index, target.shape[axis]
        axis += 1


def _of_axis(arguments: Sequence[Any]) -> Iterable[IndexRead]:
    """`(target, axis, index, ...)`: gather, scatter, index_select and their kin."""
    target, axis, index = arguments[0], arguments[1], arguments[2]
    yield index, target.shape[axis] if target.dim() > 0 else 1


def _of_flat(arguments: Sequence[Any]) -> Iterable[IndexRead]:
    """`(target, index)` over the flattened target: take, put."""
    yield arguments[1], arguments[0].numel()


def _of_rows(arguments: Sequence[Any]) -> Iterable[IndexRead]:
    """`(weight, index)` over the rows of weight: embedding."""
    yield arguments[1], arguments[0].shape[0]


_READERS: Final[Mapping[str, Callable[[Sequence[Any]], Iterable[IndexRead]]]] = MappingProxyType(
    {
        "index": _of_index_list,
        "index_put": _of_index_list,
        "index_select": _of_axis,
        "gather": _of_axis,
        "take": _of_flat,
        "embedding": _of_rows,
        "scatter": _of_axis,
        "scatter_add": _of_axis,
        "scatter_reduce": _of_axis,
        "index_add": _of_axis,
        "index_copy": _of_axis,
        "index_fill": _of_axis,
        "put": _of_flat,
    }
)
