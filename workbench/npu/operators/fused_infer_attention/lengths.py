"""Rules on lengths and paging: per request or as running totals; block table, cache form, block size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import has_values, need, shown
from workbench.npu.operators.fused_infer_attention.call import HOST, PAGE, UNBOUNDED, V4, FiaCall, rule

NZ_LANES: Final = 16
"""Last axis of a 5-D cache of 2-byte values."""

TABLE_DTYPE = rule("NPU-FIA-TABLE-DTYPE", "block_table", "int32", PAGE)
TABLE_SHAPE = rule("NPU-FIA-TABLE-SHAPE", "block_table", "2 axes, none empty, one row per request", V4)
TABLE_WIDTH = rule("NPU-FIA-TABLE-WIDTH", "block_table", "enough columns for the longest request", V4)
BLOCK_ID = rule(
    "NPU-FIA-BLOCK-ID",
    "block_table",
    "ids of existing blocks in every entry in use",
    f"{PAGE}; the kernels do not look",
    device="reads memory outside the cache: garbage or an AI Core error, later",
)
BLOCK_COUNT = rule(
    "NPU-FIA-BLOCK-COUNT", "key", "at least as many cache blocks as the requests use together", V4
)
CACHE_RANK = rule(
    "NPU-FIA-CACHE-RANK",
    "key",
    "3 axes (blocks, block_size, KVN*D), 4 (blocks, KVN, block_size, D) "
    "or 5 (blocks, KVN, D/16, block_size, 16)",
    V4,
)
CACHE_SHAPE = rule(
    "NPU-FIA-CACHE-SHAPE",
    "key",
    "a cache whose block, head and dim axes fit block_size, num_key_value_heads and the query",
    V4,
)
CACHE_EQUAL = rule("NPU-FIA-CACHE-EQUAL", "value", "the shape of the key cache", V4)
CACHE_WIDTH = rule("NPU-FIA-CACHE-WIDTH", "key", "KVN * D of at most 65535 in the 3-axis form", V4)
CACHE_ELEMENTS = rule("NPU-FIA-CACHE-ELEMENTS", "key", "fewer than 2^31 elements with one query row", PAGE)
NZ_DIM = rule("NPU-FIA-CACHE-NZ-DIM", "key", "a head dim of 64 or 128 in the 5-axis form", HOST)
BLOCK_SIZE = rule("NPU-FIA-BLOCK-SIZE", "block_size", "a positive number", V4)
BLOCK_MULTIPLE = rule(
    "NPU-FIA-BLOCK-MULTIPLE",
    "block_size",
    "a multiple of 16 (of 128 for head dims other than 64 and 128 with more than one query row)",
    V4,
)
BLOCK_MAX = rule(
    "NPU-FIA-BLOCK-MAX",
    "block_size",
    "at most 1024 (512 for head dims other than 64 and 128 with one query row)",
    f"{V4}; the op-plugin page says 512",
)
COUNT = rule(
    "NPU-FIA-LENGTHS-COUNT",
    "actual_seq_lengths",
    "one length for all requests, or at least one per request",
    HOST,
)
RANGE = rule(
    "NPU-FIA-LENGTHS-RANGE", "actual_seq_lengths", "lengths from 0 to the size of the sequence axis", HOST
)
PAGED_REQUIRED = rule("NPU-FIA-PAGED-LENGTHS", "actual_seq_lengths_kv", "given together with block_table", V4)
PACKED_REQUIRED = rule(
    "NPU-FIA-TND-LENGTHS", "actual_seq_lengths", "lengths of queries and keys in TND, NTD and NTD_TND", V4
)
PACKED_ORDER = rule(
    "NPU-FIA-TND-CUMULATIVE",
    "actual_seq_lengths",
    "running totals, from 0 up, never falling (not per-request lengths)",
    HOST,
)
PACKED_TOTAL = rule(
    "NPU-FIA-TND-TOTAL", "actual_seq_lengths", "a last running total equal to T (keys: at most T)", HOST
)
PACKED_COUNT = rule(
    "NPU-FIA-TND-COUNT", "actual_seq_lengths", "1 to 4096 requests, as many for keys as for queries", HOST
)


def check_given(call: FiaCall) -> None:
    """Check that the lists which the layout needs are there, before anything counts requests by them."""
    if call.block_table is not None:
        need(call.actual_seq_lengths_kv is not None, PAGED_REQUIRED, None)
    if not call.is_packed:
        return
    for name in ("actual_seq_lengths", "actual_seq_lengths_kv"):
        need(getattr(call, name) is not None, PACKED_REQUIRED, None, name)
    num_queries, num_keys = len(call.actual_seq_lengths or ()), len(call.actual_seq_lengths_kv or ())
    need(1 <= num_queries <= 4096, PACKED_COUNT, num_queries)
    need(num_keys == num_queries, PACKED_COUNT, num_keys, "actual_seq_lengths_kv")


def check_lengths(call: FiaCall) -> None:
    """Check both length lists of a call whose shapes are already sound."""
    if call.is_packed:
        check_packed(call)
        return
    if not call.is_decode:  # the decode path does not read the query lengths
        check_dense(call, "actual_seq_lengths", call.actual_seq_lengths, call.query_axes.length)
    check_dense(call, "actual_seq_lengths_kv", call.actual_seq_lengths_kv, most_keys(call))


def most_keys(call: FiaCall) -> int:
    """Return how many keys a request can have; a paged cache leaves that to the width of its table."""
    return call.kv_capacity if call.block_table is None else UNBOUNDED


def check_dense(call: FiaCall, name: str, lengths: Sequence[int] | None, size: int) -> None:
    """Check per-request lengths against the sequence axis."""
    if lengths is None:
        return
    need(len(lengths) == 1 or len(lengths) >= max(call.num_requests, 1), COUNT, list(lengths), name)
    used = lengths[: max(call.num_requests, 1)]
    need(all(0 <= length <= size for length in used), RANGE, f"{list(lengths)} of {size}", name)


def check_packed(call: FiaCall) -> None:
    """Check the running totals of a packed call, or per-request key lengths with a block table."""
    queries, keys = list(call.actual_seq_lengths or ()), list(call.actual_seq_lengths_kv or ())
    need(is_running_total(queries), PACKED_ORDER, queries)
    total = call.query_axes.length
    need(queries[-1] == total, PACKED_TOTAL, f"{queries} with T = {total}")
    if call.block_table is not None:
        check_dense(call, "actual_seq_lengths_kv", keys, most_keys(call))
        return
    need(is_running_total(keys), PACKED_ORDER, keys, "actual_seq_lengths_kv")
    total = call.kv_axes.length
    need(keys[-1] <= total, PACKED_TOTAL, f"{keys} with T = {total}", "actual_seq_lengths_kv")


def is_running_total(lengths: Sequence[int]) -> bool:
    """Whether the numbers start at 0 or above and never fall."""
    return lengths[0] >= 0 and all(before <= after for before, after in pairwise(lengths))


def check_paging(call: FiaCall) -> None:
    """Check everything about a paged cache but the ids, which need sound lengths."""
    table = call.block_table
    if table is None:
        return
    need(table.dtype is torch.int32, TABLE_DTYPE, table.dtype)
    requests = call.num_requests
    fits = table.dim() == 2 and table.numel() > 0 and table.shape[0] == requests
    need(fits, TABLE_SHAPE, f"{shown(table)} for {requests} requests")
    check_block_size(call)
    need(call.key.dim() in {3, 4, 5}, CACHE_RANK, call.key)
    need(call.key.shape == call.value.shape, CACHE_EQUAL, call.value)
    heads, dim = call.kv_heads, call.query_axes.dim
    if call.key.dim() == 5:
        need(dim in {64, 128}, NZ_DIM, dim)
    expected = {
        3: (call.block_size, heads * dim),
        4: (heads, call.block_size, dim),
        5: (heads, dim // NZ_LANES, call.block_size, NZ_LANES),
    }[call.key.dim()]
    need(tuple(call.key.shape[1:]) == expected, CACHE_SHAPE, f"{shown(call.key)}, not (blocks, *{expected})")
    need(call.key.dim() != 3 or heads * dim <= 65535, CACHE_WIDTH, heads * dim)
    need(not call.is_decode or call.key.numel() < 2**31, CACHE_ELEMENTS, call.key)


def check_block_size(call: FiaCall) -> None:
    """Check the block size against head dim and number of query rows."""
    size, common = call.block_size, call.query_axes.dim in {64, 128}
    need(size > 0, BLOCK_SIZE, size)
    multiple = 16 if common or call.is_decode else 128
    need(size % multiple == 0, BLOCK_MULTIPLE, size)
    need(size <= (512 if call.is_decode and not common else 1024), BLOCK_MAX, size)


def check_blocks(call: FiaCall) -> None:
    """Check that the table is wide enough, and that its entries in use name existing blocks."""
    table = call.block_table
    if table is None:
        return
    used = [-(-length // call.block_size) for length in call.kv_lens]
    widest = max(used, default=0)
    need(table.shape[1] >= widest, TABLE_WIDTH, f"{table.shape[1]} columns for {widest} blocks")
    blocks = call.key.shape[0]
    need(sum(used) <= blocks, BLOCK_COUNT, f"{blocks} blocks for {sum(used)}")
    if has_values(table) and widest:
        bad = bad_ids(table[:, :widest], used, blocks)
        need(bad is None, BLOCK_ID, f"{bad} of {blocks} blocks")


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
