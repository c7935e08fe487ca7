"""How many steps of a recorded path are whole."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from invariants.catalogue import CATALOGUE
from invariants.families.record import EVERY_STEP
from tracing.arrow_values import null_mask, values_of
from tracing.columns import KEY_COLUMNS
from tracing.recording_plan import RecordingPlan
from workbench.judge.share import Part

SIGNALS: Final = ("KeyboardInterrupt", "SystemExit")
"""Exceptions by which a signal ends a host; a row that one passed through says so in `incomplete`."""
_READ: Final = (*EVERY_STEP, "incomplete", "stop_reason", "token_ids")


class WholeSteps:
    """Counts the steps of a path that have all that the path records, block by block.

    Args:
        plan: What was to be recorded.

    Attributes:
        recorded: Columns that a row has, or that were promised.
    """

    def __init__(self, plan: RecordingPlan) -> None:
        self.recorded: set[str] = set(plan.columns)
        self._every, self._open_start = plan.every, plan.open_start
        self._forms: Counter[frozenset[str]] = Counter()
        self._turns: dict[tuple[int, ...], tuple[int, int, int]] = {}  # first and last step, and how many

    def add(self, table: pa.Table) -> None:
        """Take in some steps."""
        names = [name for name in table.schema.names if table.column(name).null_count < table.num_rows]
        self.recorded.update(names)
        codes = np.zeros(table.num_rows, np.int64)
        for bit, name in enumerate(_READ):
            if name in names:
                codes |= (~_nulls(table, name)).astype(np.int64) << bit
            if name == "target_token_ids":
                codes |= _drawn(table).astype(np.int64) << bit
        for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
            self._forms[_form(int(code))] += int(count)
        if "incomplete" in names:
            self._take_out_signals(table)
        if self._every > 1 or not self._open_start:
            self._count_turns(table)

    def part(self, lost: int) -> Part:
        """Return how many steps are whole, of those that were to be recorded.

        Args:
            lost: Steps that are known to have been lost; a hole in the numbers is among them.
        """
        needed = self.recorded.intersection(EVERY_STEP)
        steps = {form: count for form, count in self._forms.items() if not _ended_at_root(form)}
        whole = sum(count for form, count in steps.items() if needed <= form and "incomplete" not in form)
        return Part(whole, sum(steps.values()) + max(lost, self._left_out()))

    def _left_out(self) -> int:
        """Return how many steps are missing, by the numbers of those that are there."""
        missing = 0
        for first, last, seen in self._turns.values():
            start = first // self._every if self._open_start else 0
            missing += max(last // self._every + 1 - start - seen, 0)
        return missing

    def _take_out_signals(self, table: pa.Table) -> None:
        """Leave out steps that a signal cut: a run is judged up to its last whole step."""
        reasons = enumerate(table.column("incomplete").to_pylist())
        for row in (row for row, reason in reasons if reason and reason.partition(":")[0] in SIGNALS):
            code = sum(1 << bit for bit, name in enumerate(_READ) if _has(table, name, row))
            self._forms[_form(code)] -= 1

    def _count_turns(self, table: pa.Table) -> None:
        prompts, turns, steps = (table.column(name).to_numpy() for name in KEY_COLUMNS)
        keys, which = np.unique(np.stack([prompts, turns], axis=1), axis=0, return_inverse=True)
        for number, key in enumerate(keys.tolist()):
            of_turn = steps[which.reshape(-1) == number]
            first, last, seen = self._turns.get(tuple(key), (int(of_turn[0]), 0, 0))
            self._turns[tuple(key)] = (
                min(first, int(of_turn.min())),
                max(last, int(of_turn.max())),
                seen + len(of_turn),
            )


def _nulls(table: pa.Table, name: str) -> NDArray[np.bool_]:
    masks = ((null_mask(chunk), len(chunk)) for chunk in table.column(name).chunks)
    return np.concatenate([np.zeros(length, np.bool_) if mask is None else mask for mask, length in masks])


def _drawn(table: pa.Table) -> NDArray[np.bool_]:
    """Return which steps were sampled: no one token is the choice after a node, so none is missing there."""
    if "row_temperature" not in table.schema.names:
        return np.zeros(table.num_rows, np.bool_)
    return np.concatenate([values_of(chunk) > 0 for chunk in table.column("row_temperature").chunks])


def _has(table: pa.Table, name: str, row: int) -> bool:
    return name in table.schema.names and bool(table.column(name)[row].is_valid)


def _form(code: int) -> frozenset[str]:
    return frozenset(name for bit, name in enumerate(_READ) if code >> bit & 1)


def _ended_at_root(form: frozenset[str]) -> bool:
    """Whether a turn ended with its first token: its row records that no step ran."""
    return "token_ids" not in form and "stop_reason" in form


def left_out_by(plan: RecordingPlan) -> dict[str, str]:
    """Return the rules that a plan leaves nothing to look at, by id, and why."""
    if plan.every == 1:
        return {}
    reason = f"of each turn every {plan.every}th step is recorded, as declared"
    return {rule.id: reason for rule in CATALOGUE if rule.scope == "turn"}
