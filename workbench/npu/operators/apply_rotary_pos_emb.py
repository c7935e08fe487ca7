"""`npu_apply_rotary_pos_emb`, which updates query and key in place."""

from __future__ import annotations

from functools import partial
from typing import Final

from torch import Tensor

from workbench.npu.contract import ContractRule, is_half_or_relaxed, need, overlap
from workbench.npu.definition import operator
from workbench.npu.operators.rotary_mul import turn_halves

ROPE: Final = "npu_apply_rotary_pos_emb"
_rule: Final = partial(ContractRule, operator=ROPE, source="op-plugin page of npu_apply_rotary_pos_emb")

DTYPE = _rule(
    "NPU-ROPE-DTYPE",
    "query",
    "float16 or bfloat16 (float32 only off the device), one dtype for all four",
)
LAYOUT = _rule("NPU-ROPE-LAYOUT", "layout", "BSND with 4 axes or TND with 3 on Atlas A2 and A3")
MODE = _rule("NPU-ROPE-MODE", "rotary_mode", "half on Atlas A2 and A3")
DIM = _rule("NPU-ROPE-DIM", "query", "a head dim of 64 or 128")
EMPTY = _rule("NPU-ROPE-EMPTY", "query", "at least one element in each tensor")
KEY = _rule("NPU-ROPE-KEY", "key", "the query's shape but for the heads")
TABLES = _rule("NPU-ROPE-TABLES", "cos", "cos and sin with the query's axes, one head")
CONTIGUOUS = _rule("NPU-ROPE-CONTIGUOUS", "query", "contiguous tensors", device="undefined")
ALIAS = _rule(
    "NPU-ROPE-ALIAS",
    "key",
    "memory apart from query, cos and sin: query and key are written in place",
    source="op-plugin kernel; the schema does not say it",
    device="one update reads what the other has written",
)


def check(*, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, layout: str, rotary_mode: str) -> None:
    """Check one call."""
    tensors = {"query": query, "key": key, "cos": cos, "sin": sin}
    for name, tensor in tensors.items():
        need(is_half_or_relaxed(tensor) and tensor.dtype is query.dtype, DTYPE, tensor.dtype, name)
    need((layout, query.dim()) in {("BSND", 4), ("TND", 3)}, LAYOUT, f"{layout} with {query.dim()} axes")
    need(rotary_mode == "half", MODE, rotary_mode)
    for name, tensor in tensors.items():
        need(tensor.numel() > 0, EMPTY, tensor, name)
        need(tensor.is_contiguous(), CONTIGUOUS, f"strided {tensor.stride()}", name)
    need(query.shape[-1] in {64, 128}, DIM, query)
    outer, dim = query.shape[:-2], query.shape[-1]
    need(key.dim() == query.dim() and (*key.shape[:-2], key.shape[-1]) == (*outer, dim), KEY, key)
    for name, table in (("cos", cos), ("sin", sin)):
        need(tuple(table.shape) == (*outer, 1, dim), TABLES, table, name)
    pairs = ((query, key), (query, cos), (query, sin), (key, cos), (key, sin))
    need(not any(overlap(one, two) for one, two in pairs), ALIAS, "memory shared with another argument")


@operator(f"npu::{ROPE}", check=check)
def npu_apply_rotary_pos_emb(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate query and key in place and return them, computed in float32 and rounded once.

    The schema promises fresh tensors; the device writes the inputs, and so does the emulation, so that a
    caller who still needs them finds out.

    Args:
        query: [B, S, N, D] or [T, N, D].
        key: [B, S, KVN, D] or [T, KVN, D].
        cos: The query's shape with one head.
        sin: As `cos`.
    """
    cosines, sines = cos.float(), sin.float()
    for tensor in (query, key):
        exact = tensor.float()
        tensor.copy_(exact * cosines + turn_halves(exact) * sines)
    return query, key
