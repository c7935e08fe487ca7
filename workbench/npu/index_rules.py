"""What Ascend documents for index values of plain torch indexing, operator by operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

NEGATIVE: Final = "NPU-INDEX-NEGATIVE"
RANGE: Final = "NPU-INDEX-RANGE"


@dataclass(frozen=True, slots=True)
class IndexRule:
    """Index semantics of one torch operator.

    Attributes:
        device_operator: The operator that runs on the device.
        negative: What the device does with a negative index.
        too_large: What the device does with an index at or past the bound.
        source: Where that is documented.
        wraps: The device documents the range [-n, n - 1]; negatives then only differ from CPU torch.
    """

    device_operator: str
    negative: str
    too_large: str
    source: str
    wraps: bool = False


_INDEX = IndexRule(
    "aclnnIndex",
    "not documented; treat as unsupported (CPU torch wraps around)",
    "unpredictable result, for example an address out of range",
    "CANN ops-nn, aclnnIndex",
)
_SELECT = IndexRule(
    "aclnnIndexSelect (GatherV2)",
    "not in the documented range 0..n-1 and not checked: aicore error or garbage",
    "not supported and not checked: aicore error or garbage",
    "CANN ops-nn, aclnnIndexSelect",
)
_GATHER = IndexRule(
    "aclnnGather (GatherElements)",
    "wraps around, as documented; CPU torch raises",
    "undefined",
    "CANN ops-nn, aclnnGather",
    wraps=True,
)
_TAKE = IndexRule(
    "aclnnTake",
    "explicitly not supported (CPU torch wraps around)",
    "not supported",
    "CANN ops-nn, aclnnTake",
)
_EMBEDDING = IndexRule(
    "aclnnEmbedding", "operator error, seen late", "random values", "CANN ops-nn, aclnnEmbedding"
)
_PUT = IndexRule(
    "aclnnIndexPutImpl",
    "not documented; treat as unsupported (CPU torch wraps around)",
    "abort, or a runtime exception",
    "CANN ops-nn, aclnnIndexPutImpl",
)
_SCATTER = IndexRule("aclnnScatter", "not checked", "not checked", "CANN ops-nn, aclnnScatter")
_OTHER = IndexRule(
    "the device's operator", "not documented; treat as unsupported", "not documented", "no public page found"
)

INDEX_RULES: Final[Mapping[str, IndexRule]] = MappingProxyType(
    {
        "index": _INDEX,
        "index_put": _PUT,
        "index_select": _SELECT,
        "gather": _GATHER,
        "take": _TAKE,
        "embedding": _EMBEDDING,
        "scatter": _SCATTER,
        "scatter_add": _OTHER,
        "scatter_reduce": _OTHER,
        "index_add": _OTHER,
        "index_copy": _OTHER,
        "index_fill": _OTHER,
        "put": _OTHER,
    }
)
"""Rules by the operator's plain name: no namespace, no overload, no trailing underscore."""
