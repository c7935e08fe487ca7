"""Rules of `npu_fusion_attention`, which alone takes float32 on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.fusion.call import FUSION, FusionCall
from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue, need, shown
from workbench.npu.contracts.tensors import FLOATS, has_values

_PAGE: Final = "op-plugin page of npu_fusion_attention"
COMPRESSED: Final = 2048
"""Side of the causal mask that sparse modes 2 and 3 take."""

DTYPE = Rule(
    "NPU-FA-DTYPE", FUSION, "query", "float16, bfloat16 or float32, one for all three", _PAGE, UNSUPPORTED
)
LAYOUT = Rule("NPU-FA-LAYOUT", FUSION, "input_layout", "BSH, SBH, BSND, BNSD or TND", _PAGE, UNSUPPORTED)
RANK = Rule("NPU-FA-RANK", FUSION, "query", "as many axes as the layout has letters", _PAGE, UNSUPPORTED)
HEADS = Rule(
    "NPU-FA-HEADS",
    FUSION,
    "head_num",
    "the query's heads, 1 to 256, an integer multiple of the key's",
    _PAGE,
    UNSUPPORTED,
)
DIM = Rule("NPU-FA-DIM", FUSION, "query", "head dims from 1 to 768", _PAGE, UNSUPPORTED)
SHAPE = Rule(
    "NPU-FA-SHAPE",
    FUSION,
    "key",
    "the query's batch and head dim; the value with the key's batch, length and heads",
    _PAGE,
    UNSUPPORTED,
)
SCALE = Rule(
    "NPU-FA-SCALE",
    FUSION,
    "scale",
    "a factor, usually 1/sqrt(D); left at its default 1.0 it is taken for forgotten",
    _PAGE,
    "runs with the factor as given",
    runs=True,
)
INNER = Rule("NPU-FA-INNER-PRECISE", FUSION, "inner_precise", "0, 1 or 2", _PAGE, UNSUPPORTED)
SPARSE = Rule("NPU-FA-SPARSE-MODE", FUSION, "sparse_mode", "0 to 8", _PAGE, UNSUPPORTED)
LENGTHS = Rule(
    "NPU-FA-TND-LENGTHS",
    FUSION,
    "actual_seq_qlen",
    "running totals for queries and keys in TND, never falling, the last T (trailing zeros are skipped)",
    _PAGE,
    UNSUPPORTED,
)
LENGTHS_DENSE = Rule(
    "NPU-FA-DENSE-LENGTHS", FUSION, "actual_seq_qlen", "no lengths outside TND", _PAGE, "not documented"
)
MASK_DTYPE = Rule("NPU-FA-MASK-DTYPE", FUSION, "atten_mask", "bool or uint8", _PAGE, UNSUPPORTED)
MASK_SHAPE = Rule(
    "NPU-FA-MASK-SHAPE",
    FUSION,
    "atten_mask",
    "(B, N, S, S_kv), (B, 1, S, S_kv), (1, 1, S, S_kv) or (S, S_kv), the S axis in full "
    "(TND: (S, S_kv) of the longest request)",
    f"{_PAGE}; an S axis of 1 is not broadcast",
    "an S axis of 1 gave wrong numbers, without an error",
)
MASK_NEEDED = Rule(
    "NPU-FA-SPARSE-MASK", FUSION, "atten_mask", "a mask whenever sparse_mode is not 0", _PAGE, UNSUPPORTED
)
MASK_CAUSAL = Rule(
    "NPU-FA-MASK-TRIU",
    FUSION,
    "atten_mask",
    "(2048, 2048), ones strictly above the diagonal, with sparse modes 2 and 3",
    _PAGE,
    UNSUPPORTED,
)
MASK_ROW = Rule(
    "NPU-FA-MASK-ROW",
    FUSION,
    "atten_mask",
    "a visible column in every row, or inner_precise 2 (TND: in every row, always)",
    _PAGE,
    "not documented for this operator",
)

RULES = catalogue(globals())


def check_call(call: FusionCall) -> FusionCall:
    """Check a call and return it with tensors as [B, S, heads, D], the mask as 4-D bool, lengths per request.

    Raises:
        ContractError: naming the rule.
    """
    need(call.sparse_mode in range(9), SPARSE, call.sparse_mode)
    need(call.layout in {"BSH", "SBH", "BSND", "BNSD", "TND"}, LAYOUT, call.layout)
    need(call.inner_precise in {0, 1, 2}, INNER, call.inner_precise)
    rows, keys, values = check_tensors(call.query, call.key, call.value, call.head_num, call.layout)
    need(call.scale != 1.0 or rows.shape[-1] == 1, SCALE, call.scale)
    query_lens, kv_lens = check_lengths(call.layout, (rows, keys), call.query_lens, call.kv_lens)
    return check_mask(
        replace(call, query=rows, key=keys, value=values, query_lens=query_lens, kv_lens=kv_lens)
    )


def check_tensors(query: Tensor, key: Tensor, value: Tensor, heads: int, layout: str) -> list[Tensor]:
    """Check the three tensors and return them as [B, S, heads, D]."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        need(tensor.dtype in FLOATS and tensor.dtype is query.dtype, DTYPE, tensor.dtype, argument=name)
        need(tensor.dim() == len(layout), RANK, tensor, argument=name)
    need(1 <= heads <= 256, HEADS, heads)
    if "H" in layout:
        need(query.shape[-1] % heads == 0, HEADS, heads)
        dim = query.shape[-1] // heads
        need(dim > 0 and key.shape[-1] % dim == 0 and key.shape[-1] > 0, HEADS, key, argument="key")
        kv_heads = key.shape[-1] // dim
        need(value.shape[-1] % kv_heads == 0, SHAPE, value, argument="value")
    else:
        need(query.shape[layout.index("N")] == heads, HEADS, heads)
        kv_heads = key.shape[layout.index("N")]
    need(kv_heads > 0 and heads % kv_heads == 0, HEADS, f"{heads} over {kv_heads}")
    rows, keys, values = (
        as_bsnd(tensor, layout, count)
        for tensor, count in ((query, heads), (key, kv_heads), (value, kv_heads))
    )
    need(1 <= rows.shape[-1] <= 768 and 1 <= values.shape[-1] <= 768, DIM, rows.shape[-1])
    need(keys.shape[-1] == rows.shape[-1] and keys.shape[0] == rows.shape[0], SHAPE, key)
    need(values.shape[:-1] == keys.shape[:-1], SHAPE, value, argument="value")
    return [rows, keys, values]


def as_bsnd(tensor: Tensor, layout: str, heads: int) -> Tensor:
    """View a tensor of any layout as [B, S, heads, D]; TND gets B = 1."""
    if layout == "TND":
        return tensor.unsqueeze(0)
    if layout == "BNSD":
        return tensor.transpose(1, 2)
    if "H" in layout:
        tensor = tensor.reshape(*tensor.shape[:2], heads, tensor.shape[2] // heads)
    return tensor.transpose(0, 1) if layout == "SBH" else tensor


def check_lengths(
    layout: str,
    tensors: tuple[Tensor, Tensor],
    queries: Sequence[int] | None,
    keys: Sequence[int] | None,
) -> tuple[list[int], list[int]]:
    """Check the running totals of TND and return lengths per request; both empty for other layouts."""
    names = ("actual_seq_qlen", "actual_seq_kvlen")
    if layout != "TND":
        for name, totals in zip(names, (queries, keys), strict=True):
            need(totals is None, LENGTHS_DENSE, totals, argument=name)
        return [], []
    lengths = []
    for name, totals, tensor in zip(names, (queries, keys), tensors, strict=True):
        size = tensor.shape[1]
        kept = list(totals or ())
        while kept and kept[-1] == 0:
            kept.pop()  # trailing zeros are requests to skip
        runs = [0, *kept]
        held = bool(kept) and kept[-1] == size and all(before <= after for before, after in pairwise(runs))
        need(held, LENGTHS, f"{totals} with T = {size}", argument=name)
        lengths.append([after - before for before, after in pairwise(runs)])
    need(len(lengths[0]) == len(lengths[1]), LENGTHS, f"{len(lengths[1])} requests", argument=names[1])
    return lengths[0], lengths[1]


def check_mask(call: FusionCall) -> FusionCall:
    """Check the mask of a call in one layout; return the call with a bool mask [1 or B, 1 or N, S, S_kv].

    The compressed mask of modes 2 and 3 says no more than the mode does, and is left out.
    """
    mask = call.mask
    need(mask is not None or call.sparse_mode == 0, MASK_NEEDED, None)
    if mask is None:
        return call
    need(mask.dtype in {torch.bool, torch.uint8}, MASK_DTYPE, mask.dtype)
    if call.sparse_mode in {2, 3}:
        held = tuple(mask.shape) == (COMPRESSED, COMPRESSED)
        held = held and (
            not has_values(mask) or torch.equal(mask.bool(), torch.ones_like(mask).triu(1).bool())
        )
        need(held, MASK_CAUSAL, mask)
        return replace(call, mask=None)
    check_full_mask(call, mask)
    full = mask.bool() if mask.dim() == 4 else mask.bool()[None, None]
    if has_values(mask) and (call.is_packed or not call.repairs_rows):
        need(not bool(full.all(-1).any()), MASK_ROW, "a row of ones")
    return replace(call, mask=full)


def check_full_mask(call: FusionCall, mask: Tensor) -> None:
    """Check the shape of a mask of sparse modes 0 and 1."""
    rows = max(call.query_lens or (), default=call.query.shape[1])
    columns = max(call.kv_lens or (), default=call.key.shape[1])
    batch, heads = call.query.shape[0], call.query.shape[2]
    outer = set() if call.is_packed else {(batch, heads), (batch, 1), (1, 1)}
    held = tuple(mask.shape[-2:]) == (rows, columns)
    held = held and (mask.dim() == 2 or (mask.dim() == 4 and tuple(mask.shape[:2]) in outer))
    need(held, MASK_SHAPE, f"{shown(mask)} for S x S_kv = {rows} x {columns}")
