"""Rules on scale, sparse mode, precision, bias and sink."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import torch

from workbench.npu.contracts.fia.call import OPERATOR, FiaCall
from workbench.npu.contracts.fia.layouts import DENSE
from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue
from workbench.npu.modes import has_capability

_PAGE: Final = "op-plugin page of npu_fused_infer_attention_score"
_V2_PAGE: Final = "op-plugin page of npu_fused_infer_attention_score_v2"
_V4: Final = "aclnnFusedInferAttentionScoreV4 page, ops-transformer"
_HOST: Final = "host check of fused_infer_attention_score, ops-transformer"
_rule = partial(Rule, operator=OPERATOR, device=UNSUPPORTED)

SCALE = _rule(
    id="NPU-FIA-SCALE",
    argument="scale",
    sentence="a finite factor, usually 1/sqrt(D); left at its default 1.0 it is taken for forgotten",
    source=_PAGE,
    device="runs with the factor as given: 1.0 makes the softmax far too sharp",
    runs=True,
)
SPARSE = _rule(id="NPU-FIA-SPARSE-MODE", argument="sparse_mode", sentence="0, 1, 2, 3, 4 or 9", source=_PAGE)
SPARSE_MASK = _rule(
    id="NPU-FIA-SPARSE-MASK",
    argument="atten_mask",
    sentence="a mask whenever sparse_mode is not 0",
    source=_PAGE,
)
SPARSE_PACKED = _rule(
    id="NPU-FIA-TND-SPARSE",
    argument="sparse_mode",
    sentence="0, 3 or 4 in TND, NTD and NTD_TND",
    source=_V4,
    device="a path for other modes exists in the source and is undocumented",
)
TREE = _rule(
    id="NPU-FIA-TREE-MODE",
    argument="sparse_mode",
    sentence="a mode other than 9 without rope tensors, unless the capability tree_mask_gqa is set",
    source=f"{_V2_PAGE}: latent attention only; {_V4}: plain GQA too",
    device="depends on the stack: refused, or run with the mask over the last Q_S columns",
)
TREE_BIAS = _rule(
    id="NPU-FIA-TREE-BIAS", argument="pse_shift", sentence="no bias with sparse_mode 9", source=_HOST
)
BAND = _rule(
    id="NPU-FIA-BAND",
    argument="pre_tokens",
    sentence="pre_tokens and next_tokens that leave a band: not both negative, -next <= pre",
    source=_HOST,
)
INNER = _rule(id="NPU-FIA-INNER-PRECISE", argument="inner_precise", sentence="0, 1, 2 or 3", source=_PAGE)
INNER_DECODE = _rule(
    id="NPU-FIA-INNER-DECODE",
    argument="inner_precise",
    sentence="0 or 1 with one query row (2 and 3 for head dims 64 and 128 only)",
    source=_V4,
)
INNER_PACKED = _rule(
    id="NPU-FIA-TND-INNER",
    argument="inner_precise",
    sentence="0 for grouped heads in TND, NTD and NTD_TND",
    source=_V4,
)
PSE_DTYPE = _rule(id="NPU-FIA-PSE-DTYPE", argument="pse_shift", sentence="the query's dtype", source=_PAGE)
PSE_LAYOUT = _rule(
    id="NPU-FIA-PSE-LAYOUT",
    argument="pse_shift",
    sentence="no bias outside BSH, BSND, BNSD and BNSD_BSND",
    source=_HOST,
)
PSE_SHAPE = _rule(
    id="NPU-FIA-PSE-SHAPE",
    argument="pse_shift",
    sentence="contiguous (1 or B, N, >= Q_S, >= KV_S), the head axis in full",
    source=f"{_PAGE}; a head axis of 1 was accepted and wrong (vllm-ascend issue 15503)",
    device="a head axis of 1 was accepted and gave wrong numbers, without an error",
)
SINK = _rule(
    id="NPU-FIA-SINK",
    argument="learnable_sink",
    sentence="bfloat16 of shape (N,)",
    source=f"{_HOST}; a newer page allows float16 too",
)
SINK_LAYOUT = _rule(
    id="NPU-FIA-SINK-LAYOUT",
    argument="learnable_sink",
    sentence="no sink outside TND and NTD_TND with head dims up to 128",
    source=_HOST,
)

RULES = catalogue(globals())


def check_options(call: FiaCall) -> None:
    """Check every scalar option, and the bias and sink tensors."""
    forgotten = call.scale == 1.0 and call.query_axes.dim != 1
    call.need(math.isfinite(call.scale) and not forgotten, SCALE, call.scale)
    check_sparse(call)
    check_precision(call)
    check_pse(call)
    check_sink(call)


def check_sparse(call: FiaCall) -> None:
    """Check the sparse mode and its band."""
    mode = call.sparse_mode
    call.need(mode in {0, 1, 2, 3, 4, 9}, SPARSE, mode)
    if call.is_packed:
        call.need(mode not in {1, 2}, SPARSE_PACKED, mode)
    if not call.is_decode:  # the decode path replaces the mode by 0
        call.need(mode != 9 or has_capability("tree_mask_gqa"), TREE, mode)
        call.need(mode != 9 or call.pse_shift is None, TREE_BIAS, call.pse_shift)
    call.need(mode == 0 or call.atten_mask is not None, SPARSE_MASK, None)
    if mode == 4 or (mode == 0 and call.atten_mask is not None and not call.is_decode):
        before, after = call.pre_tokens, call.next_tokens
        call.need((before >= 0 or after >= 0) and -after <= before, BAND, f"{before}, next_tokens {after}")


def check_precision(call: FiaCall) -> None:
    """Check `inner_precise`: bit 0 high performance, bit 1 repair of rows with nothing to see."""
    inner = call.inner_precise
    call.need(inner in {0, 1, 2, 3}, INNER, inner)
    if call.is_decode:
        call.need(inner < 2 or call.query_axes.dim in {64, 128}, INNER_DECODE, inner)
    if call.is_packed and call.num_heads != call.num_key_value_heads:
        call.need(inner == 0, INNER_PACKED, inner)


def check_pse(call: FiaCall) -> None:
    """Check the additive bias."""
    pse = call.pse_shift
    if pse is None:
        return
    call.need(call.input_layout in {*DENSE, "BNSD_BSND"}, PSE_LAYOUT, call.input_layout)
    call.need(pse.dtype is call.query.dtype, PSE_DTYPE, pse.dtype)
    query = call.query_axes
    fits = (
        pse.dim() == 4
        and pse.is_contiguous()
        and pse.shape[0] in {1, query.batch}
        and pse.shape[1] == query.heads
        and pse.shape[2] >= query.length
        and pse.shape[3] >= call.kv_capacity
    )
    call.need(fits, PSE_SHAPE, pse)


def check_sink(call: FiaCall) -> None:
    """Check the learnable sink of v2."""
    sink = call.learnable_sink
    if sink is None:
        return
    call.need(sink.dtype is torch.bfloat16 and tuple(sink.shape) == (call.num_heads,), SINK, sink)
    narrow = call.query_axes.dim <= 128 or (call.block_table is None and call.value.shape[-1] <= 128)
    call.need(call.input_layout in {"TND", "NTD_TND"} and narrow, SINK_LAYOUT, call.input_layout)
