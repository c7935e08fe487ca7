"""Rules on query, key and value: dtype, layout, shape, head counts, size limits."""

from __future__ import annotations

from workbench.npu.contract import is_half_or_relaxed, need, shown
from workbench.npu.operators.fused_infer_attention.call import DENSE, HOST, LAYOUTS, PAGE, V4, FiaCall, rule

DTYPE = rule("NPU-FIA-DTYPE", "query", "float16 or bfloat16 (float32 only off the device)", HOST)
DTYPE_EQUAL = rule("NPU-FIA-DTYPE-EQUAL", "key", "key and value in the query's dtype", HOST)
DEVICE = rule(
    "NPU-FIA-DEVICE",
    "key",
    "every tensor on the query's device",
    "dispatcher of torch_npu: one meta tensor sends the whole call to the shape function",
    device="an error, or a result that was never computed",
)
CONTIGUOUS = rule("NPU-FIA-CONTIGUOUS", "query", "a contiguous tensor", PAGE)
LAYOUT = rule("NPU-FIA-LAYOUT", "input_layout", f"one of {LAYOUTS}", PAGE)
HEADS = rule("NPU-FIA-HEADS", "num_heads", "at least 1", HOST)
KV_HEADS = rule(
    "NPU-FIA-KV-HEADS", "num_key_value_heads", "0, or a positive divisor of the number of query heads", HOST
)
GQA_RATIO = rule(
    "NPU-FIA-GQA-RATIO",
    "num_key_value_heads",
    "at most 64 query heads per key head",
    f"{PAGE}; newer text of the {V4} drops the limit",
    device="older stacks refuse the call, newer ones run it",
    runs=True,
)
RANK = rule("NPU-FIA-RANK", "query", "as many axes as the layout has letters", PAGE)
HEAD_AXIS = rule(
    "NPU-FIA-HEAD-AXIS",
    "query",
    "head axes equal to num_heads and num_key_value_heads (BSH: H divisible by them)",
    HOST,
)
KEY_SHAPE = rule(
    "NPU-FIA-KEY-SHAPE", "key", "the query's batch and head dim, and a rank that fits the layout", HOST
)
VALUE_SHAPE = rule("NPU-FIA-VALUE-SHAPE", "value", "the key's batch, length and heads", HOST)
VALUE_DIM = rule("NPU-FIA-VALUE-DIM", "value", "the head dim of the key, or 128 beside 192", HOST)
LIMIT_HEADS = rule("NPU-FIA-LIMIT-HEADS", "num_heads", "at most 256 heads of either kind", PAGE)
LIMIT_DIM = rule("NPU-FIA-LIMIT-DIM", "query", "a head dim of 1 to 512", PAGE)
LIMIT_BATCH = rule("NPU-FIA-LIMIT-BATCH", "query", "a batch of at most 65536", PAGE)
LIMIT_KEYS = rule("NPU-FIA-LIMIT-KEYS", "key", "at most 20971520 keys (262144 with one query row)", PAGE)
LIMIT_WIDTH = rule(
    "NPU-FIA-LIMIT-WIDTH",
    "query",
    "heads * head dim below 65535 in BSH and BSND",
    PAGE,
    device="runs, against the advice of the page",
    runs=True,
)
DIM_16 = rule(
    "NPU-FIA-DIM-16", "query", "a head dim divisible by 16 when there is more than one query row", HOST
)
DIM_PACKED = rule("NPU-FIA-DIM-TND", "query", "a head dim of 64, 128 or 192 in TND", HOST)
DIM_CROSSED = rule(
    "NPU-FIA-DIM-CROSSED", "query", "a head dim of 64 or 128 in BSH_BNSD, BSND_BNSD, NTD and NTD_TND", HOST
)
DECODE_LAYOUT = rule(
    "NPU-FIA-DECODE-LAYOUT",
    "input_layout",
    "BSH, BSND or BNSD with one query row (BNSD_BSND needs more)",
    HOST,
    device="one host path refuses the call, another accepts head dims 64 and 128",
)


def check_layout(call: FiaCall) -> None:
    """Check layout, ranks, dtypes and head counts; later checks read shapes by the layout's letters."""
    need(is_half_or_relaxed(call.query), DTYPE, call.query.dtype)
    for name, tensor in (("key", call.key), ("value", call.value)):
        need(tensor.dtype is call.query.dtype, DTYPE_EQUAL, tensor.dtype, name)
    check_devices(call)
    need(call.input_layout in LAYOUTS, LAYOUT, call.input_layout)
    need(call.query.dim() == len(call.layout), RANK, call.query)
    for name, tensor in (("query", call.query), ("key", call.key), ("value", call.value)):
        need(tensor.is_contiguous(), CONTIGUOUS, f"strided {tensor.stride()}", name)
    need(call.num_heads > 0, HEADS, call.num_heads)
    kv_heads = call.kv_heads
    need(kv_heads > 0 and call.num_heads % kv_heads == 0, KV_HEADS, kv_heads)
    need(call.num_heads <= kv_heads * 64, GQA_RATIO, f"{call.num_heads} / {kv_heads}")
    need(call.num_heads <= 256, LIMIT_HEADS, call.num_heads)
    check_heads(call, "query", call.num_heads)


def check_devices(call: FiaCall) -> None:
    """Check that every tensor is on the query's device."""
    for name in ("key", "value", "atten_mask", "block_table", "pse_shift", "learnable_sink"):
        tensor = getattr(call, name)
        if tensor is not None:
            need(tensor.device == call.query.device, DEVICE, tensor.device, name)


def check_heads(call: FiaCall, name: str, heads: int) -> None:
    """Check that a tensor's head axis, or its H, fits the head count."""
    layout, tensor = call.layout, getattr(call, name)
    axis = tensor.shape[layout.index("N" if "N" in layout else "H")]
    need(axis % heads == 0 if layout == "BSH" else axis == heads, HEAD_AXIS, tensor, name)


def check_shapes(call: FiaCall) -> None:
    """Check sizes: contiguous key and value against the query, head dims, limits."""
    query = call.query_axes
    need(1 <= query.dim <= 512, LIMIT_DIM, query.dim)
    need(query.batch <= 65536, LIMIT_BATCH, query.batch)
    if call.layout in {"BSH", "BSND"}:
        need(query.heads * query.dim < 65535, LIMIT_WIDTH, query.heads * query.dim)
    if call.block_table is None:
        check_contiguous(call)
        dim = call.value_axes.dim
        need(dim == query.dim or (query.dim, dim) == (192, 128), VALUE_DIM, dim)
        most = 262144 if call.is_decode else 20971520
        need(call.kv_capacity <= most, LIMIT_KEYS, call.kv_capacity)
    check_dim(call, query.dim)


def check_contiguous(call: FiaCall) -> None:
    """Check contiguous key and value against the query."""
    layout, query = call.layout, call.query_axes
    need(call.key.dim() == len(layout), KEY_SHAPE, call.key)
    check_heads(call, "key", call.kv_heads)
    key = call.kv_axes
    fits = key.dim == query.dim and (call.is_packed or key.batch == query.batch)
    need(fits, KEY_SHAPE, f"{shown(call.key)} with {shown(call.query)}")
    need(call.value.dim() == len(layout), VALUE_SHAPE, call.value)
    check_heads(call, "value", call.kv_heads)
    value = call.value_axes
    same = (value.batch, value.length) == (key.batch, key.length)
    need(same, VALUE_SHAPE, f"{shown(call.value)} with {shown(call.key)}")


def check_dim(call: FiaCall, dim: int) -> None:
    """Check the head dim against the layout and the number of query rows."""
    layout = call.input_layout
    if layout == "TND":
        need(dim in {64, 128, 192}, DIM_PACKED, dim)
    elif layout in {*DENSE, "BNSD_BSND"}:
        need(layout in DENSE or call.query_axes.length != 1, DECODE_LAYOUT, layout)
        need(call.query_axes.length == 1 or dim % 16 == 0, DIM_16, dim)
    else:
        need(dim in {64, 128}, DIM_CROSSED, dim)
