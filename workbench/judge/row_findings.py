"""What is recorded of a wrong row: where, how far, whose row it is instead, and who is guilty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workbench.judge.allowance import norms_of
from workbench.judge.blame import guilty
from workbench.judge.measured import GroupRows, Judged
from workbench.judge.notes import Notes, first_few

MAX_ROWS_NAMED: Final = 8
"""Rows named one by one per quantity; the last one counts the rest."""
UNRELATED: Final = 0.5
"""An error of half the row's own size is no rounding but another row, position or tap."""
OVERFLOWS: Final = "the reference itself overflows at this dtype"
"""Why rows without a finite sample are not judged."""
MIN_WIDTH: Final = 8
"""Rows narrower than this are never called unrelated."""


def write_rows(
    notes: Notes, rule: str, column: str, judged: Judged, arbiter: Mapping[int, NDArray[Any]], *, named: bool
) -> None:
    """Write one finding per wrong row, earliest layer first; positions share one finding.

    Args:
        notes: Where to record.
        rule: Rule of a row beyond its allowance.
        column: What the quantity is called.
        judged: The measured rows.
        arbiter: Node or position to the third value of its row.
        named: Rows are nodes (each gets a finding) and not positions.
    """
    wrong = np.array([group.failed | ~group.finite for group in judged.groups])
    unjudged = np.array([group.finite & np.isnan(group.allowance.largest) for group in judged.groups])
    if unjudged.any():
        notes.skip(column, f"{int(unjudged.sum())} row(s) where {OVERFLOWS}")
    wrong_rows = np.flatnonzero(wrong.any(axis=0))
    limit = MAX_ROWS_NAMED if named else 1
    for row, tail in first_few(wrong_rows.tolist(), limit, f"of {judged.rows.size} rows"):
        number = int(np.flatnonzero(wrong[:, row])[0])
        wrong_row = _WrongRow(notes, rule, column, judged, number, row, named, tail)
        if judged.groups[number].finite[row]:
            _write_far(wrong_row, _arbiter_group(arbiter.get(int(judged.rows[row])), number))
        else:
            _write_nonfinite(wrong_row)


@dataclass(frozen=True, slots=True)
class _WrongRow:
    """One wrong row: group `number`, row `row` of it, and how messages name it."""

    notes: Notes
    rule: str
    column: str
    judged: Judged
    number: int
    row: int
    named: bool
    tail: str

    @property
    def group(self) -> GroupRows:
        """The row's group."""
        return self.judged.groups[self.number]

    @property
    def place(self) -> int:
        """Node or position of the row."""
        return int(self.judged.rows[self.row])

    @property
    def node(self) -> int | None:
        """Node of the row, None for positions."""
        return self.place if self.named else None

    @property
    def kind(self) -> str:
        """What the rows are."""
        return "node" if self.named else "position"

    def __str__(self) -> str:
        """Return its name in messages."""
        where = f"{self.kind} {self.place}"
        return f"{self.group.label} at {where}" if self.group.label else f"{self.column} of {where}"


def _arbiter_group(third: NDArray[Any] | None, number: int) -> NDArray[Any] | None:
    """Return the arbiter's part for one group: `[W]`, or `[layers, 2, kv_heads, D]` by layer and K or V."""
    if third is None or third.ndim == 1:
        return third
    return np.asarray(third.reshape(third.shape[0] * third.shape[1], -1)[number])


def _write_nonfinite(wrong: _WrongRow) -> None:
    group, row = wrong.group, wrong.row
    bad, who = group.fused_row(row), "fused" if group.truth_finite[row] else "both"
    if group.fused_finite[row]:
        bad, who = group.truth_row(row), "reference"
    message = (
        f"{wrong}: {int((~np.isfinite(bad)).sum())} of {bad.size} values NaN or Inf, {who} path{wrong.tail}"
    )
    wrong.notes.finding("JUDGE-NONFINITE", wrong.column, message, guilty=who, node=wrong.node)


def _write_far(wrong: _WrongRow, third: NDArray[Any] | None) -> None:
    """Write that a row is beyond its allowance, or is another row."""
    group, row = wrong.group, wrong.row
    worst = int(np.argmax(np.abs(group.fused_row(row) - group.truth_row(row))))
    allowance, allowance_rms = float(group.allowance.largest[row]), float(group.allowance.rms[row])
    other = _whose_row(group, row)
    sentence, unrelated = _how_far(group, row)
    if other is not None:
        sentence = f"holds the row of {wrong.kind} {int(wrong.judged.rows[other])} instead of its own"
    wrong.notes.finding(
        wrong.rule if other is None else "JUDGE-ROW-MOVED",
        wrong.column,
        f"{wrong} {sentence}{wrong.tail}",
        guilty=guilty(group.fused_row(row), group.truth_row(row), third, allowance, allowance_rms),
        node=wrong.node,
        fused=float(group.fused[row, worst]),
        reference=float(group.truth[row, worst]),
        allowance=allowance,
        gap=float(group.error[row]),
        verdict="structural" if unrelated and other is None else "",
    )


def _whose_row(group: GroupRows, row: int) -> int | None:
    """Return another row whose truth this row matches within that row's allowances, or None."""
    error = norms_of(group.truth, np.broadcast_to(group.fused_row(row), group.truth.shape))
    with np.errstate(invalid="ignore"):
        match = (error.largest <= group.allowance.largest) & (error.rms <= group.allowance.rms)
    match[row] = False
    return int(np.flatnonzero(match)[0]) if match.any() else None


def _how_far(group: GroupRows, row: int) -> tuple[str, bool]:
    """Describe how far a row is off, and return whether it is too far to be rounding."""
    error, allowance, norm = group.error[row], group.allowance.largest[row], "is off by"
    if error <= allowance:
        error, allowance = group.error_rms[row], group.allowance.rms[row]
        norm = "is off (root-mean-square) by"
    size = float(group.size.rms[row])
    share = float(group.error_rms[row]) / size if size > 0 else np.inf
    unrelated = share >= UNRELATED and group.truth.shape[1] >= MIN_WIDTH
    sentence = f"{norm} {error:.3g} where rounding allows {allowance:.3g} ({error / allowance:.3g} times)"
    if unrelated:
        sentence += f"; that is {share:.0%} of the row's own size: another position, row or tap, not rounding"
    return sentence, unrelated
