"""`npu_fusion_attention`, the training operator, forward only; it alone takes float32 on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import FLOATS, ContractRule, has_values, need, shown
from workbench.npu.definition import not_modelled, operator
from workbench.npu.emulation.attention import COMPRESSED, AttentionInputs, attend, compressed_causal
from workbench.npu.emulation.layouts import from_bsnd, to_bsnd
from workbench.npu.emulation.ragged import differences, in_use, pack, unpack

FUSION: Final = "npu_fusion_attention"
_PAGE: Final = "op-plugin page of npu_fusion_attention"
_rule: Final = partial(ContractRule, operator=FUSION, source=_PAGE)
COVERS: Final = "attention without bias and dropout in sparse modes 0 to 3"
UNBOUNDED: Final = 2**31 - 1
DROPOUT: Final = ("gen_mask_parallel", "sync", "seed", "offset")
"""How dropout is generated; nothing without dropout."""
COPIES: Final = 8
"""How often the kernel repeats each softmax statistic along the last axis."""

DTYPE = _rule("NPU-FA-DTYPE", "query", "float16, bfloat16 or float32, one for all three")
LAYOUT = _rule("NPU-FA-LAYOUT", "input_layout", "BSH, SBH, BSND, BNSD or TND")
RANK = _rule("NPU-FA-RANK", "query", "as many axes as the layout has letters")
HEADS = _rule("NPU-FA-HEADS", "head_num", "the query's heads, 1 to 256, an integer multiple of the key's")
DIM = _rule("NPU-FA-DIM", "query", "head dims from 1 to 768")
SHAPE = _rule(
    "NPU-FA-SHAPE",
    "key",
    "the query's batch and head dim; the value with the key's batch, length and heads",
)
SCALE = _rule(
    "NPU-FA-SCALE",
    "scale",
    "a factor, usually 1/sqrt(D); left at its default 1.0 it is taken for forgotten",
    device="runs with the factor as given",
    runs=True,
)
INNER = _rule("NPU-FA-INNER-PRECISE", "inner_precise", "0, 1 or 2")
SPARSE = _rule("NPU-FA-SPARSE-MODE", "sparse_mode", "0 to 8")
LENGTHS = _rule(
    "NPU-FA-TND-LENGTHS",
    "actual_seq_qlen",
    "running totals for queries and keys in TND, never falling, the last T (trailing zeros are skipped)",
)
LENGTHS_DENSE = _rule(
    "NPU-FA-DENSE-LENGTHS", "actual_seq_qlen", "no lengths outside TND", device="not documented"
)
MASK_DTYPE = _rule("NPU-FA-MASK-DTYPE", "atten_mask", "bool or uint8")
MASK_SHAPE = _rule(
    "NPU-FA-MASK-SHAPE",
    "atten_mask",
    "(B, N, S, S_kv), (B, 1, S, S_kv), (1, 1, S, S_kv) or (S, S_kv), the S axis in full "
    "(TND: (S, S_kv) of the longest request)",
    source=f"{_PAGE}; an S axis of 1 is not broadcast",
    device="an S axis of 1 gave wrong numbers, without an error",
)
MASK_NEEDED = _rule("NPU-FA-SPARSE-MASK", "atten_mask", "a mask whenever sparse_mode is not 0")
MASK_CAUSAL = _rule(
    "NPU-FA-MASK-TRIU",
    "atten_mask",
    "(2048, 2048), ones strictly above the diagonal, with sparse modes 2 and 3",
)
MASK_ROW = _rule(
    "NPU-FA-MASK-ROW",
    "atten_mask",
    "a visible column in every row, or inner_precise 2 (TND: in every row, always)",
    device="not documented for this operator",
)


@dataclass(frozen=True)
class FusionCall:
    """The arguments that are modelled, under their schema names; the properties need a checked call."""

    query: Tensor
    key: Tensor
    value: Tensor
    head_num: int
    input_layout: str
    atten_mask: Tensor | None
    scale: float
    pre_tockens: int
    next_tockens: int
    inner_precise: int
    actual_seq_qlen: Sequence[int] | None
    actual_seq_kvlen: Sequence[int] | None
    sparse_mode: int

    @property
    def is_packed(self) -> bool:
        """Whether requests are concatenated along T."""
        return self.input_layout == "TND"

    @property
    def kv_heads(self) -> int:
        """KVN."""
        if "H" in self.input_layout:
            return self.key.shape[-1] // (self.query.shape[-1] // self.head_num)
        return self.key.shape[self.input_layout.index("N")]

    @cached_property
    def bsnd(self) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value as [B, S, heads, D]; B is 1 in TND."""
        layout, kv_heads = self.input_layout, self.kv_heads
        keys, values = to_bsnd(self.key, layout, kv_heads), to_bsnd(self.value, layout, kv_heads)
        return to_bsnd(self.query, layout, self.head_num), keys, values

    @cached_property
    def lengths(self) -> tuple[list[int], list[int]]:
        """Query rows and keys per request of TND; both empty for other layouts."""
        totals = (self.actual_seq_qlen, self.actual_seq_kvlen)
        queries, keys = (differences(without_skipped(each)) for each in totals)
        return queries, keys

    @property
    def full_mask(self) -> Tensor | None:
        """Bool [1 or B, 1 or N, S, S_kv]; None where the mask adds nothing to the mode."""
        if self.atten_mask is None or self.sparse_mode in {2, 3}:
            return None
        mask = self.atten_mask.bool()
        return mask if mask.dim() == 4 else mask[None, None]


def without_skipped(totals: Sequence[int] | None) -> list[int]:
    """Return running totals without their trailing zeros, which are requests to skip."""
    kept = list(totals or ())
    while kept and kept[-1] == 0:
        kept.pop()
    return kept


def check(call: FusionCall) -> None:
    """Check one call."""
    banded = call.sparse_mode == 0 and (call.pre_tockens, call.next_tockens) != (UNBOUNDED, UNBOUNDED)
    if banded or 4 <= call.sparse_mode <= 8:
        not_modelled(FUSION, "pre_tockens" if banded else "sparse_mode", COVERS)
    need(call.sparse_mode in range(9), SPARSE, call.sparse_mode)
    need(call.input_layout in {"BSH", "SBH", "BSND", "BNSD", "TND"}, LAYOUT, call.input_layout)
    need(call.inner_precise in {0, 1, 2}, INNER, call.inner_precise)
    check_heads(call)
    rows, keys, values = call.bsnd
    need(1 <= rows.shape[-1] <= 768 and 1 <= values.shape[-1] <= 768, DIM, rows.shape[-1])
    need(keys.shape[-1] == rows.shape[-1] and keys.shape[0] == rows.shape[0], SHAPE, call.key)
    need(values.shape[:-1] == keys.shape[:-1], SHAPE, call.value, "value")
    need(call.scale != 1.0 or rows.shape[-1] == 1, SCALE, call.scale)
    check_lengths(call)
    check_mask(call)


def check_heads(call: FusionCall) -> None:
    """Check dtypes, ranks and head counts; later checks read shapes by the layout's letters."""
    query, key, value, heads = call.query, call.key, call.value, call.head_num
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        need(tensor.dtype in FLOATS and tensor.dtype is query.dtype, DTYPE, tensor.dtype, name)
        need(tensor.dim() == len(call.input_layout), RANK, tensor, name)
    need(1 <= heads <= 256, HEADS, heads)
    if "H" in call.input_layout:
        need(query.shape[-1] % heads == 0, HEADS, heads)
        dim = query.shape[-1] // heads
        need(dim > 0 and key.shape[-1] % dim == 0 and key.shape[-1] > 0, HEADS, key, "key")
        need(value.shape[-1] % call.kv_heads == 0, SHAPE, value, "value")
    else:
        need(query.shape[call.input_layout.index("N")] == heads, HEADS, heads)
    kv_heads = call.kv_heads
    need(kv_heads > 0 and heads % kv_heads == 0, HEADS, f"{heads} over {kv_heads}")


def check_lengths(call: FusionCall) -> None:
    """Check the running totals of TND, and that other layouts have none."""
    given = {"actual_seq_qlen": call.actual_seq_qlen, "actual_seq_kvlen": call.actual_seq_kvlen}
    for (name, totals), tensor in zip(given.items(), call.bsnd, strict=False):
        if not call.is_packed:
            need(totals is None, LENGTHS_DENSE, totals, name)
            continue
        kept, size = without_skipped(totals), tensor.shape[1]
        held = bool(kept) and kept[-1] == size and min(differences(kept)) >= 0
        need(held, LENGTHS, f"{totals} with T = {size}", name)
    queries, keys = call.lengths
    need(
        not call.is_packed or len(queries) == len(keys), LENGTHS, f"{len(keys)} requests", "actual_seq_kvlen"
    )


def check_mask(call: FusionCall) -> None:
    """Check the mask of a call that is sound in every other respect."""
    mask = call.atten_mask
    need(mask is not None or call.sparse_mode == 0, MASK_NEEDED, None)
    if mask is None:
        return
    need(mask.dtype in {torch.bool, torch.uint8}, MASK_DTYPE, mask.dtype)
    full = call.full_mask
    if full is None:
        held = tuple(mask.shape) == (COMPRESSED, COMPRESSED)
        same = not has_values(mask) or torch.equal(mask.bool(), compressed_causal(mask.device))
        need(held and same, MASK_CAUSAL, mask)
        return
    check_full_mask(call, mask)
    if has_values(mask) and (call.is_packed or call.inner_precise != 2):
        need(not bool(full.all(-1).any()), MASK_ROW, "a row of ones")


def check_full_mask(call: FusionCall, mask: Tensor) -> None:
    """Check the shape of a mask of sparse modes 0 and 1."""
    query, key, _ = call.bsnd
    query_lens, kv_lens = call.lengths
    rows, columns = max(query_lens, default=query.shape[1]), max(kv_lens, default=key.shape[1])
    batch, heads = query.shape[0], query.shape[2]
    outer = set() if call.is_packed else {(batch, heads), (batch, 1), (1, 1)}
    held = tuple(mask.shape[-2:]) == (rows, columns)
    held = held and (mask.dim() == 2 or (mask.dim() == 4 and tuple(mask.shape[:2]) in outer))
    need(held, MASK_SHAPE, f"{shown(mask)} for S x S_kv = {rows} x {columns}")


@operator(f"npu::{FUSION}", check=check, arguments=FusionCall, covers=COVERS, ignored=DROPOUT)
def npu_fusion_attention(call: FusionCall) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int, int]:
    """Attend as the training operator does, without dropout.

    Returns:
        output in the layout of the query; softmax maximum and sum, float32 [B, N, S, 8] (TND: [T, N, 8]); an
        empty reserved tensor; seed, offset and numels of the dropout, all 0.
    """
    query, key, value = call.bsnd
    query_lens, kv_lens = call.lengths
    if call.is_packed:
        query, key, value = unpack(query, query_lens), unpack(key, kv_lens), unpack(value, kv_lens)
    result = attend(
        AttentionInputs(
            query=query.transpose(1, 2),
            key=key.transpose(1, 2),
            value=value.transpose(1, 2),
            scale=call.scale,
            seen=seen_columns(call, query.shape[1], key.shape[1]),
            blocked=call.full_mask,
            repair_rows=call.inner_precise == 2,
        )
    )
    out = result.out.transpose(1, 2)
    top, total = (each.unsqueeze(-1).repeat(1, 1, 1, COPIES) for each in (result.top, result.total))
    if call.is_packed:
        out = pack(out, query_lens)
        top, total = (pack(each.transpose(1, 2), query_lens).squeeze(0) for each in (top, total))
    reserved = torch.empty(0, dtype=query.dtype, device=query.device)
    return from_bsnd(out, call.input_layout), top.contiguous(), total.contiguous(), reserved, 0, 0, 0


def seen_columns(call: FusionCall, rows: int, columns: int) -> Tensor | None:
    """Return bool [B or 1, 1, S or 1, S_kv] of the columns that are processed; None when it is all of them.

    Mode 2 is causal from the top left, mode 3 from the bottom right of each request.
    """
    device = call.query.device
    query_lens, kv_lens = call.lengths
    seen = in_use(kv_lens, columns, device)[:, None, None] if kv_lens else None
    if call.sparse_mode not in {2, 3}:
        return seen
    ahead = torch.arange(columns, device=device) - torch.arange(rows, device=device)[:, None]
    shift = torch.zeros(1, dtype=torch.int64, device=device)
    if call.sparse_mode == 3:
        shift = torch.tensor(kv_lens or [columns], device=device)
        shift = shift - torch.tensor(query_lens or [rows], device=device)
    causal = ahead <= shift[:, None, None, None]
    return causal if seen is None else seen & causal
