"""Who wrote each row of a committed cache, and which rows changed after that: from digests alone.

A chain of row digests is a polynomial in them (`tracing.digest`), and its multiplier has an inverse. So where
one row of a cache changed, the difference of two chains gives for each position the digest that would have to
be there now; the position for which that is a row written somewhere in the turn is the one that changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from tracing.digest import ODD_PRIME, chain
from tracing.moment import Moment

_MODULUS: Final = 1 << 64
_INVERSE: Final = pow(ODD_PRIME, -1, _MODULUS)
COLUMNS: Final = (
    *("prompt_id", "turn", "step", "committed_len", "context_token_ids", "accepted_nodes"),
    *("kv_digest_before", "kv_digest_after", "kv_row_digests"),
)
"""What is read of a step."""
MAX_ROWS: Final = 1 << 20
"""Longest cache that is followed."""
NO_DIGESTS: Final = (
    "no digests of cache rows are recorded: a row that changed after it was written is not seen"
)


@dataclass(frozen=True, slots=True)
class Writer:
    """Who wrote a row.

    Attributes:
        step: Of the turn.
        node: Node of that step's tree; None for prefill before that step.
        digest: Of the row, None where not recorded.
    """

    step: int
    node: int | None = None
    digest: int | None = None

    def __str__(self) -> str:
        """Return its name in a report."""
        return "prefill" if self.node is None else f"node {self.node} of step {self.step}"


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that is not the one that was written for its position.

    Attributes:
        at: Step and stage: `commit`, or `verify` where it changed between the commit before and verify.
        position: Which; None where the digests do not tell.
        belongs: Who wrote what belongs there.
        holds: Whose row is there; None for bytes that no recorded row has.
    """

    at: Moment
    position: int | None = None
    belongs: Writer | None = None
    holds: Writer | None = None

    @property
    def kind(self) -> str:
        """`moved` from elsewhere in the tree, `stale` from an earlier step, or `overwritten`."""
        if self.at.stage != "commit" or self.holds is None:
            return "overwritten"
        return "moved" if self.holds.step == self.at.step else "stale"

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        when = f"commit of step {self.at.step}"
        if self.at.stage != "commit":
            when = f"between the commit before and verify of step {self.at.step}"
        if self.position is None:
            return f"{when}: rows of the committed cache changed, the digests do not tell which"
        there = "other bytes than any row of the turn" if self.holds is None else f"the row of {self.holds}"
        return f"{when}: position {self.position} holds {there} where that of {self.belongs} belongs"


@dataclass(slots=True)
class CacheHistory:
    """The committed cache of one turn.

    Attributes:
        writers: Who wrote what belongs at each position.
        changes: What is there instead, in order.
        not_known: Why changes cannot be seen; empty where they can.
    """

    writers: list[Writer] = field(default_factory=list)
    changes: list[RowChange] = field(default_factory=list)
    not_known: str = ""

    def changes_before(self, moment: Moment) -> list[RowChange]:
        """Return the changes up to a stage of a step; those that verify reads where it names no stage."""
        last = (moment.step, (moment if moment.stage else moment.at("verify")).stage_number)
        return [each for each in self.changes if (each.at.step, each.at.stage_number) <= last]


def cache_history(rows: Iterable[Mapping[str, Any]]) -> CacheHistory:
    """Follow the steps of one turn.

    Args:
        rows: `COLUMNS` of its steps in order, arrays or lists.
    """
    walk = _Walk()
    for row in rows:
        walk.take(row)
    return walk.history


class _Walk:
    """Follows digests from step to step."""

    def __init__(self) -> None:
        self.history = CacheHistory()
        self._value: int | None = None
        self._known: dict[int, Writer] = {}
        self._there: list[Writer] = []

    def take(self, row: Mapping[str, Any]) -> None:
        """Take a step."""
        length, nodes = row.get("committed_len"), _ints(row.get("accepted_nodes"))
        if length is None or not 0 <= length <= MAX_ROWS:
            self._value = None
            return
        at = Moment.of_row(row)
        context = row.get("context_token_ids")
        if (context is not None and len(context)) or len(self.history.writers) != length:
            self.history.writers = [Writer(at.step)] * int(length)  # a cache that was built anew
            self._there, self._value = list(self.history.writers), None
        before, after = row.get("kv_digest_before"), row.get("kv_digest_after")
        digests = _ints(row.get("kv_row_digests")) or []
        if before is None:
            self.history.not_known = NO_DIGESTS
        elif self._value is not None and int(before) != self._value:
            self._one_changed(at.at("verify"), int(before), self._value)
        for node, digest in enumerate(digests):
            self._known.setdefault(digest, Writer(at.step, node, digest))
        self._value = None if after is None else int(after)
        if nodes is None:
            self._value = None
            return
        own = [
            Writer(at.step, node, digests[node] if 0 <= node < len(digests) else None) for node in (0, *nodes)
        ]
        self.history.writers += own
        self._there += own
        if before is not None and after is not None and all(each.digest is not None for each in own):
            expected = chain(int(before), [each.digest for each in own])
            if int(after) != expected and not self._other_path(at, int(before), int(after), digests):
                self._one_changed(at.at("commit"), int(after), expected)

    def _other_path(self, at: Moment, before: int, after: int, digests: Sequence[int]) -> bool:
        """Look for the rows of another path in what a commit left; return whether they are there."""
        own = [each for each in self.history.writers if each.step == at.step and each.node is not None]
        start = len(self.history.writers) - len(own)
        for nodes in _likely_paths([each.node or 0 for each in own], len(digests)):
            if chain(before, [digests[node] for node in nodes]) == after:
                for position, (right, node) in enumerate(zip(own, nodes, strict=True), start):
                    if right.digest != digests[node]:
                        holds = Writer(at.step, node, digests[node])
                        self._note(at.at("commit"), position, holds)
                return True
        return False

    def _one_changed(self, at: Moment, found: int, expected: int) -> None:
        """Find the one row that changed between two chains."""
        delta = (found - expected) % _MODULUS
        for position in reversed(range(len(self._there))):
            digest = self._there[position].digest
            holds = None if digest is None else self._known.get((digest + delta) % _MODULUS)
            if holds is not None:
                self._note(at, position, holds)
                return
            delta = delta * _INVERSE % _MODULUS
        self.history.changes.append(RowChange(at))

    def _note(self, at: Moment, position: int, holds: Writer) -> None:
        self.history.changes.append(RowChange(at, position, self.history.writers[position], holds))
        self._there[position] = holds


def _likely_paths(own: Sequence[int], num_nodes: int) -> Iterator[list[int]]:
    """Yield paths that a wrong commit may have taken instead: a block, the reverse, neighbours."""
    root, rest = own[:1], own[1:]
    likely = [list(range(len(own))), [*own][::-1], [*root, *rest[::-1]]]
    for shift in (1, -1):
        likely += [[node + shift for node in own], [*root, *(node + shift for node in rest)]]
    yield from (nodes for nodes in likely if all(0 <= node < num_nodes for node in nodes))


def _ints(value: Any) -> list[int] | None:
    """Return whole numbers; None where there are none, or one of them is null."""
    if value is None:
        return None
    numbers = value.tolist() if isinstance(value, np.ndarray) else list(value)
    return None if any(each is None for each in numbers) else [int(each) for each in numbers]
