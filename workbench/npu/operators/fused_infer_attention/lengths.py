"""Rules on the sequence lengths: per request in dense layouts, running totals in packed ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from workbench.npu.contract import need
from workbench.npu.operators.fused_infer_attention.call import HOST, UNBOUNDED, V4, FiaCall, rule

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
