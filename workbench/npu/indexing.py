"""Where plain torch operators read indices, and what Ascend documents for their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

IndexRead = tuple[Tensor, int]
"""An integer index tensor and its bound: legal values are 0..bound - 1."""
_MASKS: Final = (torch.bool, torch.uint8)  # torch reads both as boolean masks inside x[...]


@dataclass(frozen=True, slots=True)
class IndexedOperator:
    """Index semantics of one torch operator on the device.

    Attributes:
        device_operator: The operator that runs on the device.
        negative: What the device does with a negative index.
        too_large: What the device does with an index at or past the bound.
        source: Where that is documented.
        reads: Finds the index tensors of a call, given its arguments by name.
        wraps: The device documents the range [-n, n - 1]; negatives then only differ from CPU torch.
    """

    device_operator: str
    negative: str
    too_large: str
    source: str
    reads: Callable[[Mapping[str, Any]], Iterable[IndexRead]]
    wraps: bool = False


def index_reads(name: str, arguments: Mapping[str, Any]) -> list[IndexRead]:
    """Return the index tensors of a call of `INDEXED_OPERATORS` with bounds; no empty ones, no masks."""
    return [read for read in INDEXED_OPERATORS[name].reads(arguments) if read[0].numel() > 0]


def _of_index_list(arguments: Mapping[str, Any]) -> Iterable[IndexRead]:
    """`x[a, None, b]`: each index takes one axis, a mask as many as it has, a hole one."""
    axis = 0
    for index in arguments["indices"]:
        if index is not None and index.dtype in _MASKS:
            axis += index.dim()
            continue
        if index is not None:
            yield index, arguments["self"].shape[axis]
        axis += 1


def _of_axis(arguments: Mapping[str, Any]) -> Iterable[IndexRead]:
    """Indices along one axis: gather, scatter, index_select and the like."""
    target = arguments["self"]
    yield arguments["index"], target.shape[arguments["dim"]] if target.dim() > 0 else 1


def _of_flat(arguments: Mapping[str, Any]) -> Iterable[IndexRead]:
    """Indices of the flattened target: take, put."""
    yield arguments["index"], arguments["self"].numel()


def _of_rows(arguments: Mapping[str, Any]) -> Iterable[IndexRead]:
    """Indices of the rows of a weight: embedding."""
    yield arguments["indices"], arguments["weight"].shape[0]


_UNKNOWN: Final = "not documented; treat as unsupported"
_other: Final = partial(
    IndexedOperator, "the device's operator", _UNKNOWN, "not documented", "no public page found"
)

INDEXED_OPERATORS: Final[Mapping[str, IndexedOperator]] = MappingProxyType(
    {
        "index": IndexedOperator(
            "aclnnIndex",
            f"{_UNKNOWN} (CPU torch wraps around)",
            "unpredictable result, for example an address out of range",
            "CANN ops-nn, aclnnIndex",
            _of_index_list,
        ),
        "index_put": IndexedOperator(
            "aclnnIndexPutImpl",
            f"{_UNKNOWN} (CPU torch wraps around)",
            "abort, or a runtime exception",
            "CANN ops-nn, aclnnIndexPutImpl",
            _of_index_list,
        ),
        "index_select": IndexedOperator(
            "aclnnIndexSelect (GatherV2)",
            "not in the documented range 0..n-1 and not checked: aicore error or garbage",
            "not supported and not checked: aicore error or garbage",
            "CANN ops-nn, aclnnIndexSelect",
            _of_axis,
        ),
        "gather": IndexedOperator(
            "aclnnGather (GatherElements)",
            "wraps around, as documented; CPU torch raises",
            "undefined",
            "CANN ops-nn, aclnnGather",
            _of_axis,
            wraps=True,
        ),
        "take": IndexedOperator(
            "aclnnTake",
            "explicitly not supported (CPU torch wraps around)",
            "not supported",
            "CANN ops-nn, aclnnTake",
            _of_flat,
        ),
        "embedding": IndexedOperator(
            "aclnnEmbedding",
            "operator error, seen late",
            "random values",
            "CANN ops-nn, aclnnEmbedding",
            _of_rows,
        ),
        "scatter": IndexedOperator(
            "aclnnScatter", "not checked", "not checked", "CANN ops-nn, aclnnScatter", _of_axis
        ),
        "scatter_add": _other(_of_axis),
        "scatter_reduce": _other(_of_axis),
        "index_add": _other(_of_axis),
        "index_copy": _other(_of_axis),
        "index_fill": _other(_of_axis),
        "put": _other(_of_flat),
    }
)
"""By the operator's plain name: no namespace, no overload, no trailing underscore."""
