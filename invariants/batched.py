"""A checker for long runs: whole batches are prefiltered, and the loop looks only at flagged steps.

Outcomes, counts and statistics are those of `Checker.step` called for every step in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.batch.facts import batch_facts
from invariants.batch.flat import Flat
from invariants.batch.kinds import Kind, kinds
from invariants.batch.steps import Batch
from invariants.batch.suspicious import suspicious_steps
from invariants.context import RunContext
from invariants.facts import Facts
from invariants.inputs import Row
from invariants.outcome import Outcome, Violated
from invariants.rule import BoolArray, IntArray
from invariants.run import Checker, Known, PathMemory, known
from invariants.selection import Selection
from invariants.writes import Turn, Writes
from tracing.columns import KEY_COLUMNS

Outcomes = tuple[Outcome, ...]
OfPath = tuple[str, Kind, bool]


class BatchChecker(Checker):
    """A `Checker` that also takes steps by the batch; use one of the two ways per path."""

    def __init__(self, context: RunContext | None = None, selection: Selection | None = None) -> None:
        super().__init__(context, selection)
        self._outcomes_of_kind: dict[OfPath, Outcomes] = {}
        self._texts: dict[str, int] = {}

    def batch(
        self, path: str, columns: Mapping[str, Flat], row_at: Callable[[int], Row]
    ) -> Iterator[tuple[int, Outcomes]]:
        """Check the next S steps of a path; yield number and outcomes of those that break a rule.

        Exhaust it: what is counted and remembered is complete only then.

        Args:
            path: Whose steps they are.
            columns: Flat columns of the steps.
            row_at: Returns the columns of step 0..S-1 of the batch, as `Checker.step` takes them. Called for
                steps that need a close look, for the steps before those, and for the first and last one.

        Raises:
            UsageError: Columns have different numbers of steps.
        """
        memory = self._memory(path)
        first = None if memory.first is None else memory.first.get("committed_len")
        batch = Batch(columns, self.context, first_committed_len=first)
        if not batch.num_steps:
            return
        looked_at = suspicious_steps(batch)
        past = _Past(batch, memory, row_at)
        looked_at[0] |= memory.previous is not None  # a batch holds nothing of the step before it
        facts, known = batch_facts(batch, looked_at)
        for number, outcomes, own_facts in self._close_looks(path, past, looked_at):
            known[number] = own_facts is not None
            if own_facts is not None:
                facts.put([number], own_facts)
            if any(isinstance(outcome, Violated) for outcome in outcomes):
                yield number, outcomes
        memory.statistics.add(facts.only(known))
        past.leave(memory)

    def _close_looks(
        self, path: str, past: _Past, looked_at: BoolArray
    ) -> Iterator[tuple[int, Outcomes, Facts | None]]:
        """Judge the steps that are looked at, and one step of each kind that was never judged; count all."""
        numbers, names = kinds(past.batch, looked_at, self._texts)
        codes = np.where(looked_at, -1, 2 * numbers + past.first_known())
        alike = {
            step: ((path, names[code // 2], bool(code % 2)), times)
            for code, step, times in _occurrences(codes)
            if code >= 0
        }
        fresh = [step for step, (kind, _) in alike.items() if kind not in self._outcomes_of_kind]
        for number in sorted([*np.flatnonzero(looked_at).tolist(), *fresh]):
            outcomes, facts = self.judge(path, *past.rows(number))
            if number in alike:
                self._outcomes_of_kind[alike[number][0]] = outcomes
            else:
                self._count(path, outcomes)
            yield number, outcomes, facts
        for kind, times in alike.values():
            self._count(path, self._outcomes_of_kind[kind], times)


class _Past:
    """What came before each step of a batch.

    Attributes:
        batch: The steps.
    """

    def __init__(self, batch: Batch, memory: PathMemory, row_at: Callable[[int], Row]) -> None:
        self.batch = batch
        self._row_at = row_at
        self._opening = batch.opening
        self._is_first = batch.begins_turn
        memory.enter(row_at(0))
        self._others = {0: memory.log.between(self._turn(0))}
        self._known: dict[int, Known] = {0: (known(memory.first), known(memory.previous))}
        self._enter_others(memory)

    def _enter_others(self, memory: PathMemory) -> None:
        """Go through the stretches of one turn each as the loop would, without unpacking a step."""
        starts = np.unique(self._opening).tolist()
        for before, start in pairwise(starts):
            memory.park(self._turn(before), (self._known[before][0], partial(self._row_at, start - 1)))
            self._log(memory, range(before, start))
            self._others[start] = memory.log.between(self._turn(start))
            begins = bool(self._is_first[start])
            first, previous = memory.resume(self._turn(start), begins=begins)
            self._known[start] = (partial(self._row_at, start) if begins else first, previous)
        self._log(memory, range(starts[-1], self.batch.num_steps))

    def _log(self, memory: PathMemory, stretch: range) -> None:
        """Remember what the last two steps of a stretch of one turn wrote."""
        for number in stretch[-2:]:
            memory.log.add(self._turn(number), self._writes(number))

    def _writes(self, number: int) -> Writes | None:
        slots, ranks = self.batch.columns.get("slots"), self.batch.columns.get("dp_rank")
        if slots is None or slots.offsets is None or not slots.present[number]:
            return None
        entries = slice(*slots.offsets[number : number + 2].tolist())
        if slots.missing is not None and slots.missing[entries].any():
            return None
        at = tuple(_item(self.batch.scalar(name), number) for name in KEY_COLUMNS)
        rank = None if ranks is None or not ranks.present[number] else int(ranks.values[number])
        return Writes(at, slots.values[entries].copy(), rank)

    def _turn(self, number: int) -> Turn:
        prompts, turns = self.batch.scalar("prompt_id"), self.batch.scalar("turn")
        return _item(prompts, number), _item(turns, number)

    def first_known(self) -> BoolArray:
        """Return whether the first step of each step's turn was seen, `[S]`."""
        # A row of a batch is known without being unpacked.
        known = {
            opening: isinstance(first, partial) or first() is not None
            for opening, (first, _) in self._known.items()
        }
        found: BoolArray = self._is_first[self._opening].copy()
        for opening in np.unique(self._opening[~found]).tolist():
            found[self._opening == opening] = known[opening]
        return found

    def rows(self, number: int) -> tuple[Row, Row | None, Row | None, tuple[Writes, ...] | None]:
        """Return a step, the step before it, the first of its turn, and what others wrote since."""
        row = self._row_at(number)
        first, previous = self._known[int(self._opening[number])]
        if self.batch.has_previous[number]:
            return row, self._row_at(number - 1), first(), None
        return row, previous(), first(), self._others[number]

    def leave(self, memory: PathMemory) -> None:
        """Remember the last step."""
        row, _, first, _ = self.rows(self.batch.num_steps - 1)
        memory.turn = (row.get("prompt_id"), row.get("turn"))
        memory.previous, memory.first = row, first


def _occurrences(codes: IntArray) -> Iterator[tuple[int, int, int]]:
    """Yield each code, its first place, and how often it occurs."""
    found, first, times = np.unique(codes, return_index=True, return_counts=True)
    return zip(found.tolist(), first.tolist(), times.tolist(), strict=True)


def _item(column: NDArray[Any] | None, number: int) -> Any:
    return None if column is None else column[number].item()
