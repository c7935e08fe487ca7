"""Requests of the toy paged engine and the rows that it records of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from invariants.context import RunContext
from tracing.run_facts import KvGroup, ModelFacts

SIZE, NUM_DRAFTS, LIMIT, WINDOW = 4, 3, 40, 10
SIZES = (2, SIZE, 8, 16)
"""Tokens of a block, in engines of their own."""
Row = dict[str, Any]


def context_of(size: int) -> RunContext:
    """Return the facts of an engine with blocks of so many tokens."""
    return RunContext(block_size=size, model_facts=ModelFacts(kv_groups=groups_of(size)))


def groups_of(size: int) -> tuple[KvGroup, ...]:
    """Return the KV groups of an engine with blocks of so many tokens."""
    return tuple(
        KvGroup(
            layers=(layer,),
            kind="sliding_window" if layer else "full",
            window=WINDOW if layer else 0,
            manager_block_size=size,
            kernel_block_size=size // 2,
            null_block=0,
        )
        for layer in range(2)
    )


GROUPS, CONTEXT = groups_of(SIZE), context_of(SIZE)


def spread_over(context: RunContext, ranks: int, interleave: int) -> RunContext:
    """Return the facts of an engine whose tokens are spread over ranks of context parallelism."""
    assert context.model_facts is not None
    groups = tuple(
        replace(each, cp_size=ranks, cp_interleave=interleave) for each in context.model_facts.kv_groups
    )
    return replace(context, model_facts=replace(context.model_facts, kv_groups=groups))


def on_rank(row: Row, rank: int, ranks: int, interleave: int, size: int) -> Row:
    """Return what one rank records of a row: blocks of `size` tokens on each rank, -1 for another one's."""
    row = row | {"cp_rank": rank}
    if row.get("slots") is None or row["request_id"] is None:
        return row
    every, whole = row["group_slots"], size * ranks
    place = every % whole
    own = place // (interleave * ranks) * interleave + place % interleave
    is_own = (every >= 0) & (place // interleave % ranks == rank)
    slots = np.where(is_own, every // whole * size + own, -1)
    row |= {"group_slots": slots, "slots": slots[0], "table_block_ids": None}
    return row | ({"draft_slots": slots[0]} if row.get("draft_slots") is not None else {})


@dataclass
class Request:
    """A request; `told` are the blocks that its rows have appended so far, by group, `size` tokens each."""

    name: str
    prompt_id: int
    tokens: list[int]
    end: int
    num_prompt: int
    size: int = SIZE
    epoch: int = 0
    computed: int = 0
    step: int = 0
    is_zombie: bool = False
    begins: bool = True
    cached: int = 0
    tables: list[list[int]] = field(default_factory=lambda: [[], []])
    told: list[int] = field(default_factory=lambda: [0, 0])
    copies: list[int] = field(default_factory=list)


def row_of(
    request: Request,
    number: int,
    kind: str | None,
    start: int,
    size: int,
    *,
    slots: bool = True,
    fed: Any = None,
) -> Row:
    """Return the row of a request in a launch; `fed` are tokens where they are not those of the request."""
    appended = [table[told:] for table, told in zip(request.tables, request.told, strict=True)]
    request.told = [len(table) for table in request.tables]
    most = max(map(len, appended), default=0)
    positions = np.arange(start, start + size)
    row: Row = {
        "prompt_id": request.prompt_id,
        "turn": 0,
        "step": request.step,
        "row_kind": kind,
        "dp_rank": 0,
        "launch": number,
        "request_id": request.name,
        "request_epoch": request.epoch,
        "committed_len": start,
        "query_len": size,
        "proposer": "eagle3",
    }
    if not slots:
        return row
    over = positions >= request.end + 1
    block, within = positions // request.size, positions % request.size
    places = [np.array([table[at] for at in block]) * request.size + within for table in request.tables]
    every = np.where(over, -1, np.stack(places))
    if fed is None:
        fed = [*request.tokens, *[99] * size][start : start + size]
    row |= {
        "token_ids": np.array(fed),
        "valid": np.ones(size, bool),
        "cache_positions": positions,
        "kv_len": start + size,
        "kv_len_host": start + size,
        "slots": every[0],
        "group_slots": every,
        "block_ids": np.array([each + [-1] * (most - len(each)) for each in appended]).reshape(-1),
        "table_block_ids": _kernel_table(request, start + size),
        "num_tokens_padded": 16 * max(request.size // SIZE, 1),
    }
    if kind is None:
        row |= {"draft_slots": every[0], "draft_position_ids": np.where(over, 0, positions)}
    if request.begins:
        row |= {"num_cached": request.cached, "context_token_ids": np.array(request.tokens)}
        request.begins = False
    if request.copies:
        row["block_copies"] = np.array(request.copies)
        request.copies = []
    return row


def _kernel_table(request: Request, length: int) -> Any:
    """The worker's table in blocks of the kernel; what it frees stays, and lookahead is cut."""
    tables = [
        [2 * block + half for block in table for half in range(2)][: -(-length // (request.size // 2))]
        for table in request.tables
    ]
    return np.array(tables).reshape(-1)


def padding_row(number: int, size: int, slot: int) -> Row:
    """Return the padding rows of a launch: of no request, written nowhere or to the null block."""
    row: Row = {"prompt_id": 0, "turn": 0, "step": 0, "dp_rank": 0, "launch": number, "request_id": None}
    tokens = np.zeros(size, np.int64)
    return row | {"row_kind": "withdrawn", "slots": np.full(size, slot), "token_ids": tokens}
