"""Contract of `npu_apply_rotary_pos_emb`, which updates query and key in place."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue, need
from workbench.npu.contracts.tensors import is_half_or_relaxed, overlap

ROPE: Final = "npu_apply_rotary_pos_emb"
_PAGE: Final = "op-plugin page of npu_apply_rotary_pos_emb"

DTYPE = Rule(
    "NPU-ROPE-DTYPE",
    ROPE,
    "query",
    "float16 or bfloat16 (float32 only off the device), one dtype for all four",
    _PAGE,
    UNSUPPORTED,
)
LAYOUT = Rule(
    "NPU-ROPE-LAYOUT", ROPE, "layout", "BSND with 4 axes or TND with 3 on Atlas A2 and A3", _PAGE, UNSUPPORTED
)
MODE = Rule("NPU-ROPE-MODE", ROPE, "rotary_mode", "half on Atlas A2 and A3", _PAGE, UNSUPPORTED)
DIM = Rule("NPU-ROPE-DIM", ROPE, "query", "a head dim of 64 or 128", _PAGE, UNSUPPORTED)
EMPTY = Rule("NPU-ROPE-EMPTY", ROPE, "query", "at least one element in each tensor", _PAGE, UNSUPPORTED)
KEY = Rule("NPU-ROPE-KEY", ROPE, "key", "the query's shape but for the heads", _PAGE, UNSUPPORTED)
TABLES = Rule(
    "NPU-ROPE-TABLES",
    ROPE,
    "cos",
    "cos and sin with the query's axes, one head",
    _PAGE,
    UNSUPPORTED,
)
CONTIGUOUS = Rule(
    "NPU-ROPE-CONTIGUOUS",
    ROPE,
    "query",
    "contiguous tensors",
    _PAGE,
    "undefined",
)
ALIAS = Rule(
    "NPU-ROPE-ALIAS",
    ROPE,
    "key",
    "memory apart from query, cos and sin: query and key are written in place",
    "op-plugin kernel; the schema does not say it",
    "one update reads what the other has written",
)

RULES = catalogue(globals())


def check_apply_rotary_pos_emb(  # noqa: PLR0917  # the vendor's schema
    query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, layout: str = "BSND", rotary_mode: str = "half"
) -> None:
    """Check one call of `npu_apply_rotary_pos_emb`.

    Raises:
        ContractError: naming the rule.
    """
    tensors = {"query": query, "key": key, "cos": cos, "sin": sin}
    for name, tensor in tensors.items():
        same = is_half_or_relaxed(tensor) and tensor.dtype is query.dtype
        need(same, DTYPE, tensor.dtype, argument=name)
    need((layout, query.dim()) in {("BSND", 4), ("TND", 3)}, LAYOUT, f"{layout} with {query.dim()} axes")
    need(rotary_mode == "half", MODE, rotary_mode)
    for name, tensor in tensors.items():
        need(tensor.numel() > 0, EMPTY, tensor, argument=name)
        need(tensor.is_contiguous(), CONTIGUOUS, f"strided {tensor.stride()}", argument=name)
    need(query.shape[-1] in {64, 128}, DIM, query)
    outer, dim = query.shape[:-2], query.shape[-1]
    need(key.dim() == query.dim() and (*key.shape[:-2], key.shape[-1]) == (*outer, dim), KEY, key)
    for name, table in (("cos", cos), ("sin", sin)):
        need(tuple(table.shape) == (*outer, 1, dim), TABLES, table, argument=name)
    pairs = ((query, key), (query, cos), (query, sin), (key, cos), (key, sin))
    need(
        not any(overlap(first, second) for first, second in pairs),
        ALIAS,
        "memory shared with another argument",
    )
