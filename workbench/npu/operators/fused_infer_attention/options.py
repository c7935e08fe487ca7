"""Rules on scale, sparse mode, precision, bias and sink."""

from __future__ import annotations

import math

import torch

from workbench.npu.contract import need
from workbench.npu.modes import has_capability
from workbench.npu.operators.fused_infer_attention.call import DENSE, HOST, PAGE, V4, FiaCall, rule

SCALE = rule(
    "NPU-FIA-SCALE",
    "scale",
    "a finite factor, usually 1/sqrt(D); left at its default 1.0 it is taken for forgotten",
    PAGE,
    device="runs with the factor as given: 1.0 makes the softmax far too sharp",
    runs=True,
)
SPARSE = rule("NPU-FIA-SPARSE-MODE", "sparse_mode", "0, 1, 2, 3, 4 or 9", PAGE)
SPARSE_MASK = rule("NPU-FIA-SPARSE-MASK", "atten_mask", "a mask whenever sparse_mode is not 0", PAGE)
SPARSE_PACKED = rule(
    "NPU-FIA-TND-SPARSE",
    "sparse_mode",
    "0, 3 or 4 in TND, NTD and NTD_TND",
    V4,
    device="a path for other modes exists in the source and is undocumented",
)
TREE = rule(
    "NPU-FIA-TREE-MODE",
    "sparse_mode",
    "a mode other than 9 without rope tensors, unless the capability tree_mask_gqa is set",
    f"{PAGE}_v2: latent attention only; {V4}: plain GQA too",
    device="depends on the stack: refused, or run with the mask over the last Q_S columns",
)
TREE_BIAS = rule("NPU-FIA-TREE-BIAS", "pse_shift", "no bias with sparse_mode 9", HOST)
BAND = rule(
    "NPU-FIA-BAND",
    "pre_tokens",
    "pre_tokens and next_tokens that leave a band: not both negative, -next <= pre",
    HOST,
)
INNER = rule("NPU-FIA-INNER-PRECISE", "inner_precise", "0, 1, 2 or 3", PAGE)
INNER_DECODE = rule(
    "NPU-FIA-INNER-DECODE",
    "inner_precise",
    "0 or 1 with one query row (2 and 3 for head dims 64 and 128 only)",
    V4,
)
INNER_PACKED = rule("NPU-FIA-TND-INNER", "inner_precise", "0 for grouped heads in TND, NTD and NTD_TND", V4)
PSE_DTYPE = rule("NPU-FIA-PSE-DTYPE", "pse_shift", "the query's dtype", PAGE)
PSE_LAYOUT = rule("NPU-FIA-PSE-LAYOUT", "pse_shift", "no bias outside BSH, BSND, BNSD and BNSD_BSND", HOST)
PSE_SHAPE = rule(
    "NPU-FIA-PSE-SHAPE",
    "pse_shift",
    "contiguous (1 or B, N, >= Q_S, >= KV_S), the head axis in full",
    f"{PAGE}; a head axis of 1 was accepted and wrong (vllm-ascend issue 15503)",
    device="a head axis of 1 was accepted and gave wrong numbers, without an error",
)
SINK = rule(
    "NPU-FIA-SINK", "learnable_sink", "bfloat16 of shape (N,)", f"{HOST}; a newer page allows float16 too"
)
SINK_LAYOUT = rule(
    "NPU-FIA-SINK-LAYOUT", "learnable_sink", "no sink outside TND and NTD_TND with head dims up to 128", HOST
)


def check_options(call: FiaCall) -> None:
    """Check every scalar option, and the bias and sink tensors."""
    forgotten = call.scale == 1.0 and call.query_axes.dim != 1
    need(math.isfinite(call.scale) and not forgotten, SCALE, call.scale)
    check_sparse(call)
    check_precision(call)
    check_pse(call)
    check_sink(call)


def check_sparse(call: FiaCall) -> None:
    """Check the sparse mode and its band."""
    mode = call.sparse_mode
    need(mode in {0, 1, 2, 3, 4, 9}, SPARSE, mode)
    if call.is_packed:
        need(mode not in {1, 2}, SPARSE_PACKED, mode)
    if not call.is_decode:  # the decode path replaces the mode by 0
        need(mode != 9 or has_capability("tree_mask_gqa"), TREE, mode)
        need(mode != 9 or call.pse_shift is None, TREE_BIAS, call.pse_shift)
    need(mode == 0 or call.atten_mask is not None, SPARSE_MASK, None)
    if mode == 4 or (mode == 0 and call.atten_mask is not None and not call.is_decode):
        before, after = call.pre_tokens, call.next_tokens
        need((before >= 0 or after >= 0) and -after <= before, BAND, f"{before}, next_tokens {after}")


def check_precision(call: FiaCall) -> None:
    """Check `inner_precise`: bit 0 high performance, bit 1 repair of rows with nothing to see."""
    inner = call.inner_precise
    need(inner in {0, 1, 2, 3}, INNER, inner)
    if call.is_decode:
        need(inner < 2 or call.query_axes.dim in {64, 128}, INNER_DECODE, inner)
    if call.is_packed and call.num_heads != call.kv_heads:
        need(inner == 0, INNER_PACKED, inner)


def check_pse(call: FiaCall) -> None:
    """Check the additive bias."""
    pse = call.pse_shift
    if pse is None:
        return
    need(call.input_layout in {*DENSE, "BNSD_BSND"}, PSE_LAYOUT, call.input_layout)
    need(pse.dtype is call.query.dtype, PSE_DTYPE, pse.dtype)
    query = call.query_axes
    fits = (
        pse.dim() == 4
        and pse.is_contiguous()
        and pse.shape[0] in {1, query.batch}
        and pse.shape[1] == query.heads
        and pse.shape[2] >= query.length
        and pse.shape[3] >= call.kv_capacity
    )
    need(fits, PSE_SHAPE, pse)


def check_sink(call: FiaCall) -> None:
    """Check the learnable sink of v2."""
    sink = call.learnable_sink
    if sink is None:
        return
    need(sink.dtype is torch.bfloat16 and tuple(sink.shape) == (call.num_heads,), SINK, sink)
    narrow = call.query_axes.dim <= 128 or (call.block_table is None and call.value.shape[-1] <= 128)
    need(call.input_layout in {"TND", "NTD_TND"} and narrow, SINK_LAYOUT, call.input_layout)
