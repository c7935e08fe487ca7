"""Rules on query, key and value: dtype, layout, shape, head counts, size limits."""

from __future__ import annotations

from functools import partial
from typing import Final

from workbench.npu.contracts.fia.call import OPERATOR, FiaCall
from workbench.npu.contracts.fia.layouts import DENSE, LAYOUTS, Axes, axes, input_layout
from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue, shown
from workbench.npu.contracts.tensors import is_half_or_relaxed

_PAGE: Final = "op-plugin page of npu_fused_infer_attention_score"
_V4: Final = "aclnnFusedInferAttentionScoreV4 page, ops-transformer"
_HOST: Final = "host check of fused_infer_attention_score, ops-transformer"
_rule = partial(Rule, operator=OPERATOR, device=UNSUPPORTED)

DTYPE = _rule(
    id="NPU-FIA-DTYPE",
    argument="query",
    sentence="float16 or bfloat16 (float32 only off the device)",
    source=_HOST,
)
DTYPE_EQUAL = _rule(
    id="NPU-FIA-DTYPE-EQUAL", argument="key", sentence="key and value in the query's dtype", source=_HOST
)
DEVICE = _rule(
    id="NPU-FIA-DEVICE",
    argument="key",
    sentence="every tensor on the query's device",
    source="dispatcher of torch_npu: one meta tensor sends the whole call to the shape function",
    device="an error, or a result that was never computed",
)
CONTIGUOUS = _rule(id="NPU-FIA-CONTIGUOUS", argument="query", sentence="a contiguous tensor", source=_PAGE)
LAYOUT = _rule(id="NPU-FIA-LAYOUT", argument="input_layout", sentence=f"one of {LAYOUTS}", source=_PAGE)
HEADS = _rule(id="NPU-FIA-HEADS", argument="num_heads", sentence="at least 1", source=_HOST)
KV_HEADS = _rule(
    id="NPU-FIA-KV-HEADS",
    argument="num_key_value_heads",
    sentence="0, or a positive divisor of the number of query heads",
    source=_HOST,
)
GQA_RATIO = _rule(
    id="NPU-FIA-GQA-RATIO",
    argument="num_key_value_heads",
    sentence="at most 64 query heads per key head",
    source=f"{_PAGE}; newer text of the {_V4} drops the limit",
    device="older stacks refuse the call, newer ones run it",
    runs=True,
)
RANK = _rule(
    id="NPU-FIA-RANK", argument="query", sentence="as many axes as the layout has letters", source=_PAGE
)
HEAD_AXIS = _rule(
    id="NPU-FIA-HEAD-AXIS",
    argument="query",
    sentence="head axes equal to num_heads and num_key_value_heads (BSH: H divisible by them)",
    source=_HOST,
)
KEY_SHAPE = _rule(
    id="NPU-FIA-KEY-SHAPE",
    argument="key",
    sentence="the query's batch and head dim, and a rank that fits the layout",
    source=_HOST,
)
VALUE_SHAPE = _rule(
    id="NPU-FIA-VALUE-SHAPE",
    argument="value",
    sentence="the key's batch, length and heads",
    source=_HOST,
)
VALUE_DIM = _rule(
    id="NPU-FIA-VALUE-DIM",
    argument="value",
    sentence="the head dim of the key, or 128 beside 192",
    source=_HOST,
)
LIMIT_HEADS = _rule(
    id="NPU-FIA-LIMIT-HEADS", argument="num_heads", sentence="at most 256 heads of either kind", source=_PAGE
)
LIMIT_DIM = _rule(id="NPU-FIA-LIMIT-DIM", argument="query", sentence="a head dim of 1 to 512", source=_PAGE)
LIMIT_BATCH = _rule(
    id="NPU-FIA-LIMIT-BATCH", argument="query", sentence="a batch of at most 65536", source=_PAGE
)
LIMIT_KEYS = _rule(
    id="NPU-FIA-LIMIT-KEYS",
    argument="key",
    sentence="at most 20971520 keys (262144 with one query row)",
    source=_PAGE,
)
LIMIT_WIDTH = _rule(
    id="NPU-FIA-LIMIT-WIDTH",
    argument="query",
    sentence="heads * head dim below 65535 in BSH and BSND",
    source=_PAGE,
    device="runs, against the advice of the page",
    runs=True,
)
DIM_16 = _rule(
    id="NPU-FIA-DIM-16",
    argument="query",
    sentence="a head dim divisible by 16 when there is more than one query row",
    source=_HOST,
)
DIM_PACKED = _rule(
    id="NPU-FIA-DIM-TND", argument="query", sentence="a head dim of 64, 128 or 192 in TND", source=_HOST
)
DIM_CROSSED = _rule(
    id="NPU-FIA-DIM-CROSSED",
    argument="query",
    sentence="a head dim of 64 or 128 in BSH_BNSD, BSND_BNSD, NTD and NTD_TND",
    source=_HOST,
)
DECODE_LAYOUT = _rule(
    id="NPU-FIA-DECODE-LAYOUT",
    argument="input_layout",
    sentence="BSH, BSND or BNSD with one query row (BNSD_BSND needs more)",
    source=_HOST,
    device="one host path refuses the call, another accepts head dims 64 and 128",
)

RULES = catalogue(globals())


def check_layout(call: FiaCall) -> None:
    """Check layout, ranks, dtypes and head counts; later checks read shapes by the layout's letters."""
    call.need(is_half_or_relaxed(call.query), DTYPE, call.query.dtype)
    for name, tensor in (("key", call.key), ("value", call.value)):
        call.need(tensor.dtype is call.query.dtype, DTYPE_EQUAL, tensor.dtype, name)
    check_devices(call)
    call.need(call.input_layout in LAYOUTS, LAYOUT, call.input_layout)
    call.need(call.query.dim() == len(input_layout(call.input_layout)), RANK, call.query)
    for name, tensor in (("query", call.query), ("key", call.key), ("value", call.value)):
        call.need(tensor.is_contiguous(), CONTIGUOUS, f"strided {tensor.stride()}", name)
    call.need(call.num_heads > 0, HEADS, call.num_heads)
    kv_heads = call.num_key_value_heads
    call.need(kv_heads > 0 and call.num_heads % kv_heads == 0, KV_HEADS, kv_heads)
    call.need(call.num_heads <= kv_heads * 64, GQA_RATIO, f"{call.num_heads} / {kv_heads}")
    call.need(call.num_heads <= 256, LIMIT_HEADS, call.num_heads)
    check_heads(call, "query", call.num_heads)


def check_devices(call: FiaCall) -> None:
    """Check that every tensor lies where the query does."""
    for name in ("key", "value", "atten_mask", "block_table", "pse_shift", "learnable_sink"):
        tensor = getattr(call, name)
        if tensor is not None:
            call.need(tensor.device == call.query.device, DEVICE, tensor.device, name)


def check_heads(call: FiaCall, name: str, heads: int) -> None:
    """Check that a tensor's head axis, or its H, fits the head count."""
    layout, tensor = input_layout(call.input_layout), getattr(call, name)
    axis = tensor.shape[layout.index("N" if "N" in layout else "H")]
    call.need(axis % heads == 0 if layout == "BSH" else axis == heads, HEAD_AXIS, tensor, name)


def check_shapes(call: FiaCall) -> None:
    """Check sizes: contiguous key and value against the query, head dims, limits."""
    query = call.query_axes
    call.need(1 <= query.dim <= 512, LIMIT_DIM, query.dim)
    call.need(query.batch <= 65536, LIMIT_BATCH, query.batch)
    if input_layout(call.input_layout) in {"BSH", "BSND"}:
        call.need(query.heads * query.dim < 65535, LIMIT_WIDTH, query.heads * query.dim)
    if call.block_table is None:
        value = check_contiguous(call)
        call.need(value.dim == query.dim or (query.dim, value.dim) == (192, 128), VALUE_DIM, value.dim)
        most = 262144 if call.is_decode else 20971520
        call.need(call.kv_capacity <= most, LIMIT_KEYS, call.kv_capacity)
    check_dim(call, query.dim)


def check_contiguous(call: FiaCall) -> Axes:
    """Check contiguous key and value against the query; return the sizes of the value."""
    layout, query = input_layout(call.input_layout), call.query_axes
    call.need(call.key.dim() == len(layout), KEY_SHAPE, call.key)
    check_heads(call, "key", call.num_key_value_heads)
    key = call.kv_axes
    fits = key.dim == query.dim and (call.is_packed or key.batch == query.batch)
    call.need(fits, KEY_SHAPE, f"{shown(call.key)} beside {shown(call.query)}")
    call.need(call.value.dim() == len(layout), VALUE_SHAPE, call.value)
    check_heads(call, "value", call.num_key_value_heads)
    value = axes(call.value, layout, call.num_key_value_heads)
    same = (value.batch, value.length) == (key.batch, key.length)
    call.need(same, VALUE_SHAPE, f"{shown(call.value)} beside {shown(call.key)}")
    return value


def check_dim(call: FiaCall, dim: int) -> None:
    """Check the head dim against the layout and the number of query rows."""
    layout = call.input_layout
    if layout == "TND":
        call.need(dim in {64, 128, 192}, DIM_PACKED, dim)
    elif layout in {*DENSE, "BNSD_BSND"}:
        call.need(layout in DENSE or call.query_axes.length != 1, DECODE_LAYOUT, layout)
        call.need(call.query_axes.length == 1 or dim % 16 == 0, DIM_16, dim)
    else:
        call.need(dim in {64, 128}, DIM_CROSSED, dim)
