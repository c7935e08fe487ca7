"""One request's rows in one launch, as the trace gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from invariants.rule import IntArray
from tracing.run_facts import KvGroup

RANKS: Final = ("dp_rank", "tp_rank", "pp_rank", "cp_rank")
READ: Final = (
    *("prompt_id", "turn", "step", "row_kind", "launch", "request_id", "request_epoch", "batch_row", *RANKS),
    *("committed_len", "committed_len_after", "query_len", "kv_len", "kv_len_host", "kernel", "proposer"),
    *("num_cached", "block_ids", "table_block_ids", "block_copies", "slots", "group_slots"),
    *("token_ids", "valid", "cache_positions", "context_token_ids", "accepted_nodes", "final_token_id"),
    *("draft_slots", "draft_position_ids", "num_tokens_padded", "num_reqs_padded"),
)
"""Columns of which the view of a launch is made."""
Memory = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """A row of the trace that took part in a launch.

    Attributes:
        row: Columns of the row.
        groups: KV groups of the engine; empty where not known.
        start: Logical position of its first query row, or None.
        positions: Logical positions of its live query rows, `[n]`; None where not recorded.
        tokens: Their tokens, `[n]`; None where not recorded.
        slots: Where they are written, `[G, n]`; None where not recorded.
        pad_slots: Where its padding is written, `[G, m]`.
    """

    row: Mapping[str, Any]
    groups: tuple[KvGroup, ...] = ()
    start: int | None = None
    positions: IntArray | None = None
    tokens: IntArray | None = None
    slots: IntArray | None = None
    pad_slots: IntArray = field(default_factory=lambda: np.zeros((1, 0), dtype=np.int64))

    @classmethod
    def of(cls, row: Mapping[str, Any], groups: tuple[KvGroup, ...]) -> LaunchRow:
        """Read a row; what it lacks, or holds in another form than its column's, stays unknown."""
        start, slots = _number(row, "committed_len"), _slots(row, len(groups))
        positions, tokens = _array(row, "cache_positions"), _array(row, "token_ids")
        size = slots.shape[1] if slots is not None else len(tokens) if tokens is not None else None
        if positions is None and start is not None and size is not None:
            positions = start + np.arange(size)
        live, valid = np.ones(size or 0, dtype=np.bool_), _array(row, "valid")
        if valid is not None and len(valid) == size:
            live = valid.astype(np.bool_)
        if start is None and positions is not None and len(positions):
            start = int(positions.min())
        fits = [each is not None and len(each) == len(live) for each in (positions, tokens)]
        return cls(
            row=row,
            groups=groups,
            start=start,
            positions=positions[live] if positions is not None and fits[0] else None,
            tokens=tokens[live] if tokens is not None and fits[1] else None,
            slots=None if slots is None else slots[:, live],
            pad_slots=np.zeros((1, 0), dtype=np.int64) if slots is None else slots[:, ~live],
        )

    @property
    def place(self) -> tuple[int, int, int]:
        """Prompt, turn and step."""
        prompt_id, turn, step = (_number(self.row, name) or 0 for name in ("prompt_id", "turn", "step"))
        return prompt_id, turn, step

    @property
    def kind(self) -> str | None:
        """Its `row_kind`; None is a step."""
        return self.row.get("row_kind")

    @property
    def is_padding(self) -> bool:
        """Whether it stands for rows of the launch that belong to no request."""
        return self.kind == "withdrawn" and self.row.get("request_id") is None

    @property
    def request(self) -> str:
        """The engine's name of the request, else that of its prompt and turn."""
        name = self.row.get("request_id")
        return f"{self.place[0]}:{self.place[1]}" if name is None else str(name)

    @property
    def epoch(self) -> int:
        """Preemptions of the request before."""
        return _number(self.row, "request_epoch") or 0

    @property
    def memory(self) -> Memory:
        """Ranks, of which each has a cache of its own; -1 where one is not recorded."""
        numbers = (_number(self.row, name) for name in RANKS)
        return tuple(-1 if each is None else each for each in numbers)

    @property
    def launch(self) -> int | None:
        """Number of the launch."""
        return _number(self.row, "launch")

    @property
    def text(self) -> str:
        """Request, place and kind, for a message."""
        kind = f" ({self.kind})" if self.kind else ""
        return f"request {self.request} at {':'.join(map(str, self.place))}{kind}"

    def number(self, name: str) -> int | None:
        """Return a scalar column, or None."""
        return _number(self.row, name)

    def array(self, name: str) -> IntArray | None:
        """Return a list column without axes, or None where it lost entries or is not there."""
        return _array(self.row, name)

    def by_group(self, name: str) -> list[IntArray] | None:
        """Return a `[G, B]` column without its filling, one array a group; None where it is not there."""
        values, num_groups = _array(self.row, name), max(len(self.groups), 1)
        if values is None or values.size % num_groups:
            return None
        return [each[each >= 0].astype(np.int64) for each in values.reshape(num_groups, -1)]


def _number(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    return None if value is None else int(value)


def _array(row: Mapping[str, Any], name: str) -> IntArray | None:
    value = row.get(name)
    if value is None or np.ma.getmaskarray(value).any():
        return None
    return np.asarray(np.ma.getdata(value)).reshape(-1)


def _slots(row: Mapping[str, Any], num_groups: int) -> IntArray | None:
    """Return slots of every group; those of group 0 alone where the others are not recorded."""
    every, first = _array(row, "group_slots"), _array(row, "slots")
    if every is not None and num_groups and every.size % num_groups == 0:
        return every.reshape(num_groups, -1).astype(np.int64)
    return None if first is None else first.reshape(1, -1).astype(np.int64)
