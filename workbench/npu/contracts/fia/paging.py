"""Rules on paged keys and values: block table, cache form, block size."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.fia.call import OPERATOR, FiaCall
from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue, shown
from workbench.npu.contracts.tensors import has_values

_PAGE: Final = "op-plugin page of npu_fused_infer_attention_score"
_V4: Final = "aclnnFusedInferAttentionScoreV4 page, ops-transformer"
_HOST: Final = "host check of fused_infer_attention_score, ops-transformer"
_rule = partial(Rule, operator=OPERATOR, device=UNSUPPORTED)

NZ_LANES: Final = 16
"""Last axis of a 5-D cache of 2-byte values."""

TABLE_DTYPE = _rule(id="NPU-FIA-TABLE-DTYPE", argument="block_table", sentence="int32", source=_PAGE)
TABLE_SHAPE = _rule(
    id="NPU-FIA-TABLE-SHAPE",
    argument="block_table",
    sentence="2 axes, none empty, one row per request",
    source=_V4,
)
TABLE_WIDTH = _rule(
    id="NPU-FIA-TABLE-WIDTH",
    argument="block_table",
    sentence="enough columns for the longest request",
    source=_V4,
)
BLOCK_ID = _rule(
    id="NPU-FIA-BLOCK-ID",
    argument="block_table",
    sentence="ids of existing blocks in every entry in use",
    source=f"{_PAGE}; the kernels do not look",
    device="reads memory outside the cache: garbage or an AI Core error, later",
)
BLOCK_COUNT = _rule(
    id="NPU-FIA-BLOCK-COUNT",
    argument="key",
    sentence="at least as many cache blocks as the requests use together",
    source=_V4,
)
CACHE_RANK = _rule(
    id="NPU-FIA-CACHE-RANK",
    argument="key",
    sentence="3 axes (blocks, block_size, KVN*D), 4 (blocks, KVN, block_size, D) "
    "or 5 (blocks, KVN, D/16, block_size, 16)",
    source=_V4,
)
CACHE_SHAPE = _rule(
    id="NPU-FIA-CACHE-SHAPE",
    argument="key",
    sentence="a cache whose block, head and dim axes fit block_size, num_key_value_heads and the query",
    source=_V4,
)
CACHE_EQUAL = _rule(
    id="NPU-FIA-CACHE-EQUAL", argument="value", sentence="the shape of the key cache", source=_V4
)
CACHE_WIDTH = _rule(
    id="NPU-FIA-CACHE-WIDTH",
    argument="key",
    sentence="KVN * D of at most 65535 in the 3-axis form",
    source=_V4,
)
CACHE_ELEMENTS = _rule(
    id="NPU-FIA-CACHE-ELEMENTS",
    argument="key",
    sentence="fewer than 2^31 elements with one query row",
    source=_PAGE,
)
NZ_DIM = _rule(
    id="NPU-FIA-CACHE-NZ-DIM",
    argument="key",
    sentence="a head dim of 64 or 128 in the 5-axis form",
    source=_HOST,
)
BLOCK_SIZE = _rule(id="NPU-FIA-BLOCK-SIZE", argument="block_size", sentence="a positive number", source=_V4)
BLOCK_MULTIPLE = _rule(
    id="NPU-FIA-BLOCK-MULTIPLE",
    argument="block_size",
    sentence="a multiple of 16 (of 128 for head dims other than 64 and 128 with more than one query row)",
    source=_V4,
)
BLOCK_MAX = _rule(
    id="NPU-FIA-BLOCK-MAX",
    argument="block_size",
    sentence="at most 1024 (512 for head dims other than 64 and 128 with one query row)",
    source=f"{_V4}; the op-plugin page says 512",
)

RULES = catalogue(globals())


def check_paging(call: FiaCall) -> None:
    """Check everything about a paged cache but the ids, which need sound lengths."""
    table = call.block_table
    if table is None:
        return
    call.need(table.dtype is torch.int32, TABLE_DTYPE, table.dtype)
    requests = call.num_requests
    fits = table.dim() == 2 and table.numel() > 0 and table.shape[0] == requests
    call.need(fits, TABLE_SHAPE, f"{shown(table)} for {requests} requests")
    check_block_size(call)
    call.need(call.key.dim() in {3, 4, 5}, CACHE_RANK, call.key)
    call.need(call.key.shape == call.value.shape, CACHE_EQUAL, call.value)
    heads, dim = call.num_key_value_heads, call.query_axes.dim
    if call.key.dim() == 5:
        call.need(dim in {64, 128}, NZ_DIM, dim)
    expected = {
        3: (call.block_size, heads * dim),
        4: (heads, call.block_size, dim),
        5: (heads, dim // NZ_LANES, call.block_size, NZ_LANES),
    }[call.key.dim()]
    call.need(
        tuple(call.key.shape[1:]) == expected, CACHE_SHAPE, f"{shown(call.key)}, not (blocks, *{expected})"
    )
    call.need(call.key.dim() != 3 or heads * dim <= 65535, CACHE_WIDTH, heads * dim)
    call.need(not call.is_decode or call.key.numel() < 2**31, CACHE_ELEMENTS, call.key)


def check_block_size(call: FiaCall) -> None:
    """Check the block size against head dim and number of query rows."""
    size, common = call.block_size, call.query_axes.dim in {64, 128}
    call.need(size > 0, BLOCK_SIZE, size)
    multiple = 16 if common or call.is_decode else 128
    call.need(size % multiple == 0, BLOCK_MULTIPLE, size)
    call.need(size <= (512 if call.is_decode and not common else 1024), BLOCK_MAX, size)


def check_blocks(call: FiaCall) -> None:
    """Check that the table is wide enough, and that its entries in use name existing blocks."""
    table = call.block_table
    if table is None:
        return
    used = [-(-length // call.block_size) for length in call.kv_lens]
    widest = max(used, default=0)
    call.need(table.shape[1] >= widest, TABLE_WIDTH, f"{table.shape[1]} columns for {widest} blocks")
    blocks = call.key.shape[0]
    call.need(sum(used) <= blocks, BLOCK_COUNT, f"{blocks} blocks for {sum(used)}")
    if has_values(table) and widest:
        bad = bad_ids(table[:, :widest], used, blocks)
        call.need(bad is None, BLOCK_ID, f"{bad} of {blocks} blocks")


def bad_ids(table: Tensor, used: list[int], blocks: int) -> list[int] | None:
    """Return the first ids in use that name no block, None when there are none.

    Args:
        table: Int32 [B, width].
        used: Entries in use per row.
        blocks: Blocks of the cache.
    """
    place = torch.arange(table.shape[1], device=table.device)
    in_use = place < torch.tensor(used, device=table.device)[:, None]
    wrong = in_use & ((table < 0) | (table >= blocks))
    if not bool(wrong.any()):
        return None
    return [int(number) for number in table[wrong][:4]]
