"""Rules on the sequence lengths: per request in dense layouts, running totals in packed ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Final

from workbench.npu.contracts.fia.call import OPERATOR, UNBOUNDED, FiaCall
from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue

_PAGE: Final = "op-plugin page of npu_fused_infer_attention_score"
_V4: Final = "aclnnFusedInferAttentionScoreV4 page, ops-transformer"
_HOST: Final = "host check of fused_infer_attention_score, ops-transformer"
_rule = partial(Rule, operator=OPERATOR, device=UNSUPPORTED)

COUNT = _rule(
    id="NPU-FIA-LENGTHS-COUNT",
    argument="actual_seq_lengths",
    sentence="one length for all requests, or at least one per request",
    source=_HOST,
)
RANGE = _rule(
    id="NPU-FIA-LENGTHS-RANGE",
    argument="actual_seq_lengths",
    sentence="lengths from 0 to the size of the sequence axis",
    source=_HOST,
)
PAGED_REQUIRED = _rule(
    id="NPU-FIA-PAGED-LENGTHS",
    argument="actual_seq_lengths_kv",
    sentence="given together with block_table",
    source=_V4,
)
PACKED_REQUIRED = _rule(
    id="NPU-FIA-TND-LENGTHS",
    argument="actual_seq_lengths",
    sentence="lengths of queries and keys in TND, NTD and NTD_TND",
    source=_V4,
)
PACKED_ORDER = _rule(
    id="NPU-FIA-TND-CUMULATIVE",
    argument="actual_seq_lengths",
    sentence="running totals, from 0 up, never falling (not per-request lengths)",
    source=_HOST,
)
PACKED_TOTAL = _rule(
    id="NPU-FIA-TND-TOTAL",
    argument="actual_seq_lengths",
    sentence="a last running total equal to T (keys: at most T)",
    source=_HOST,
)
PACKED_COUNT = _rule(
    id="NPU-FIA-TND-COUNT",
    argument="actual_seq_lengths",
    sentence="1 to 4096 requests, as many for keys as for queries",
    source=_HOST,
)

RULES = catalogue(globals())


def check_given(call: FiaCall) -> None:
    """Check that the lists which the layout needs are there, before anything counts requests by them."""
    if call.block_table is not None:
        call.need(call.actual_seq_lengths_kv is not None, PAGED_REQUIRED, None)
    if not call.is_packed:
        return
    for name in ("actual_seq_lengths", "actual_seq_lengths_kv"):
        call.need(getattr(call, name) is not None, PACKED_REQUIRED, None, name)
    num_queries, num_keys = len(call.actual_seq_lengths or ()), len(call.actual_seq_lengths_kv or ())
    call.need(1 <= num_queries <= 4096, PACKED_COUNT, num_queries)
    call.need(num_keys == num_queries, PACKED_COUNT, num_keys, "actual_seq_lengths_kv")


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
    call.need(len(lengths) == 1 or len(lengths) >= max(call.num_requests, 1), COUNT, list(lengths), name)
    used = lengths[: max(call.num_requests, 1)]
    call.need(all(0 <= length <= size for length in used), RANGE, f"{list(lengths)} of {size}", name)


def check_packed(call: FiaCall) -> None:
    """Check the running totals of a packed call, or per-request key lengths with a block table."""
    queries, keys = list(call.actual_seq_lengths or ()), list(call.actual_seq_lengths_kv or ())
    call.need(is_running_total(queries), PACKED_ORDER, queries)
    total = call.query_axes.length
    call.need(queries[-1] == total, PACKED_TOTAL, f"{queries} with T = {total}")
    if call.block_table is not None:
        check_dense(call, "actual_seq_lengths_kv", keys, most_keys(call))
        return
    call.need(is_running_total(keys), PACKED_ORDER, keys, "actual_seq_lengths_kv")
    total = call.kv_axes.length
    call.need(keys[-1] <= total, PACKED_TOTAL, f"{keys} with T = {total}", "actual_seq_lengths_kv")


def is_running_total(lengths: Sequence[int]) -> bool:
    """Whether the numbers start at 0 or above and never fall."""
    return lengths[0] >= 0 and all(before <= after for before, after in pairwise(lengths))
