"""Rules on the attention mask: form first, then what it hides."""

from __future__ import annotations

from typing import Final
from weakref import ref

import torch
from torch import Tensor

from workbench.npu.contract import has_values, need, shown
from workbench.npu.emulation.attention import COMPRESSED, compressed_causal
from workbench.npu.modes import has_capability
from workbench.npu.operators.fused_infer_attention.call import HOST, PAGE, V4, FiaCall, rule
from workbench.npu.operators.fused_infer_attention.columns import blocked_columns, repairs_rows, seen_columns

_PROVEN: Final[dict[int, tuple[ref[Tensor], int]]] = {}
"""Masks that were compared, by identity, with how often each had been written to."""
_MOST_PROVEN: Final = 64
KERNEL: Final = "kernel of fused_infer_attention_score, ops-transformer"

DTYPE = rule(
    "NPU-FIA-MASK-DTYPE",
    "atten_mask",
    "bool, int8 or uint8 (a float mask, 0 or -inf, is another operator's)",
    PAGE,
)
VALUES = rule(
    "NPU-FIA-MASK-VALUES", "atten_mask", "0 (attend) and 1 (leave out) only", PAGE, device="undefined"
)
CONTIGUOUS = rule(
    "NPU-FIA-MASK-CONTIGUOUS",
    "atten_mask",
    "a contiguous tensor, never an expanded view",
    HOST,
    device="rows are found by the mask's own last axis: other memory is read",
)
PACKED = rule(
    "NPU-FIA-TND-MASK",
    "atten_mask",
    "no mask with sparse_mode 0 in TND, NTD and NTD_TND",
    V4,
    device="a path for such masks exists in the source and is undocumented",
)
SHAPE = rule(
    "NPU-FIA-MASK-SHAPE",
    "atten_mask",
    "(Q_S, KV_S) (one query row: (B, KV_S)), (1 or B, >= Q_S, >= KV_S) or (1 or B, 1, >= Q_S, >= KV_S)",
    PAGE,
)
PAGED_WIDTH = rule(
    "NPU-FIA-MASK-PAGED-WIDTH", "atten_mask", "a last axis of at least table width * block size", HOST
)
COMPRESSED_SHAPE = rule(
    "NPU-FIA-MASK-COMPRESSED",
    "atten_mask",
    "(2048, 2048), (1, 2048, 2048) or (1, 1, 2048, 2048) with sparse modes 2, 3 and 4",
    PAGE,
)
COMPRESSED_VALUES = rule(
    "NPU-FIA-MASK-TRIU",
    "atten_mask",
    "ones strictly above the diagonal and zeros elsewhere with sparse modes 2, 3 and 4",
    PAGE,
    device="undefined",
)
TREE_SHAPE = rule(
    "NPU-FIA-TREE-SHAPE",
    "atten_mask",
    "(B, Q_S, Q_S) with sparse mode 9 (packed: 1-D, Q_len * Q_len entries per request)",
    V4,
)
TREE_LENGTHS = rule(
    "NPU-FIA-TREE-LENGTHS", "atten_mask", "no more queries than keys per request with sparse mode 9", HOST
)
DECODE_ROWS: Final = 16
"""Query rows of a request that one round of decoding takes: the root and 15 drafts."""
TREE_ROWS = rule(
    "NPU-FIA-TREE-ROWS",
    "query",
    f"at most {DECODE_ROWS} query rows per request with sparse mode 9 (larger trees: mode 0 or 1, full mask)",
    f"{PAGE}_v2, which names up to 15 drafts; guide of vllm-ascend: 16 query tokens a round of decoding",
    device="not documented: refused, or rows behind the sixteenth are wrong",
)
DECODE = rule(
    "NPU-FIA-MASK-DECODE",
    "atten_mask",
    "no mask with one query row, unless the capability mask_q1 is set (use actual_seq_lengths_kv)",
    "vllm-ascend issue 15503, torch_npu 2.10",
    device="entries past KV position 512 of a paged cache were seen to be ignored, without an error",
    runs=True,
)
POLARITY = rule(
    "NPU-FIA-MASK-POLARITY",
    "atten_mask",
    "True where a column is left out; here every query hides its own key and sees all later ones",
    f"{PAGE}, whose third example has it inverted",
    device="runs: queries attend to exactly what should be hidden",
    runs=True,
)
ROW = rule(
    "NPU-FIA-MASK-ROW",
    "atten_mask",
    "a visible column in every row in use, or inner_precise 2 or 3",
    KERNEL,
    device="every score becomes -1e12, so the row is the plain mean of the values",
    runs=True,
)


def check_mask(call: FiaCall) -> None:
    """Check the mask of a call whose shapes, options and lengths are sound."""
    mask = call.atten_mask
    if mask is None:
        return
    need(mask.dtype in {torch.bool, torch.int8, torch.uint8}, DTYPE, mask.dtype)
    need(mask.is_contiguous(), CONTIGUOUS, f"strided {mask.stride()}")
    check_form(call, mask)
    if not has_values(mask):
        return
    if mask.dtype is not torch.bool:
        need(not bool((mask.view(torch.uint8) > 1).any()), VALUES, "a value other than 0 and 1")
    if call.sparse_mode in {2, 3, 4} and not call.is_decode:
        need(is_compressed_causal(mask), COMPRESSED_VALUES, "another matrix")
    else:
        check_rows(call)


def is_compressed_causal(mask: Tensor) -> bool:
    """Whether a mask has the values of the compressed causal one; looked at once until it is written to."""
    version = None if mask.is_inference() else mask._version  # noqa: SLF001  # torch's own count of writes
    known = _PROVEN.get(id(mask))
    if known is not None and known[0]() is mask and known[1] == version:
        return True
    held = torch.equal(mask.view(COMPRESSED, COMPRESSED).bool(), compressed_causal(mask.device))
    if held and version is not None:
        if len(_PROVEN) > _MOST_PROVEN:
            _PROVEN.clear()
        _PROVEN[id(mask)] = ref(mask), version
    return held


def check_form(call: FiaCall, mask: Tensor) -> None:
    """Check the mask's shape for the sparse mode."""
    if call.is_decode:
        need(has_capability("mask_q1"), DECODE, mask)
        check_full(call, mask)
    elif call.sparse_mode == 9:
        check_tree(call, mask)
    elif call.sparse_mode in {2, 3, 4}:
        side = (COMPRESSED, COMPRESSED)
        need(tuple(mask.shape) in {side, (1, *side), (1, 1, *side)}, COMPRESSED_SHAPE, mask)
    else:
        need(not call.is_packed, PACKED, mask)
        check_full(call, mask)


def check_full(call: FiaCall, mask: Tensor) -> None:
    """Check a mask of sparse modes 0 and 1, or of one query row."""
    batch, rows, columns = call.num_requests, call.query_axes.length, call.kv_capacity
    shape = tuple(mask.shape)
    if call.block_table is not None and mask.dim() > 0:
        need(shape[-1] >= columns, PAGED_WIDTH, f"{shape[-1]} columns for {columns}")
        columns = shape[-1]
    if len(shape) == 2:
        held = shape == (batch if call.is_decode else rows, columns) and call.input_layout not in {
            "BSH_BNSD",
            "BSND_BNSD",
        }
    else:
        held = len(shape) in {3, 4} and shape[0] in {1, batch} and shape[-2] >= rows and shape[-1] >= columns
        held = held and (len(shape) == 3 or shape[1] == 1)
    needed = f"{batch} x {rows} x {columns}"
    need(held, SHAPE, f"{shown(mask)} for B x Q_S x KV_S = {needed}")


def check_tree(call: FiaCall, mask: Tensor) -> None:
    """Check a mask of sparse mode 9."""
    pairs = list(zip(call.query_lens, call.kv_lens, strict=True))
    need(all(queries <= keys or keys == 0 for queries, keys in pairs), TREE_LENGTHS, pairs)
    need(max(call.query_lens, default=0) <= DECODE_ROWS, TREE_ROWS, max(call.query_lens, default=0))
    rows = call.query_axes.length
    expected: tuple[int, ...] = (call.num_requests, rows, rows)
    if call.is_packed:
        expected = (sum(length * length for length in call.query_lens),)
    need(tuple(mask.shape) == expected, TREE_SHAPE, f"{shown(mask)}, not {expected}")


def check_rows(call: FiaCall) -> None:
    """Check what the mask hides: polarity by its plainest sign, and rows that see nothing."""
    blocked = blocked_columns(call)
    if blocked is None:
        return
    if not call.is_decode:
        need(not looks_inverted(call, blocked), POLARITY, "an inverted mask")
    if repairs_rows(call):
        return
    seen = seen_columns(call)
    open_rows = (~blocked if seen is None else seen & ~blocked).any(-1)
    used = torch.ones_like(open_rows) if seen is None else seen.any(-1)
    wrong = used & ~open_rows
    if call.padded_columns and bool(wrong.any()):
        request, row = (int(number) for number in wrong.nonzero()[0])
        need(False, ROW, f"all ones in row {row} of request {request}")


def looks_inverted(call: FiaCall, blocked: Tensor) -> bool:
    """Whether in some request every query hides its own key and sees every later one.

    No causal or tree mask does that, and the inverse of every one does. Queries are taken to be the last keys
    of their request; one query alone proves nothing.

    Args:
        call: The call.
        blocked: Bool [1 or B, S, S_kv].
    """
    return any(
        1 < queries <= keys
        and is_strict_future(blocked[min(i, len(blocked) - 1), :queries, keys - queries : keys])
        for i, (queries, keys) in enumerate(zip(call.query_lens, call.kv_lens, strict=True))
    )


def is_strict_future(hidden: Tensor) -> bool:
    """Whether a square bool matrix is all True on the diagonal and all False above it."""
    return bool(hidden.diagonal().all()) and not bool(hidden.triu(1).any())
