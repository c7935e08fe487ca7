"""What is written of a wrong row: where, how far, whose row it is instead, and who is guilty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workbench.judge.allowance import largest, root_mean_square
from workbench.judge.blame import guilty
from workbench.judge.measured import GroupRows, Judged
from workbench.judge.notes import Notes

MAX_ROWS_NAMED: Final = 8
"""Rows named one by one per quantity; the last one says how many more there are."""
UNRELATED: Final = 0.5
"""An error of half the row's own size is no rounding but another row, position or tap."""
MIN_WIDTH: Final = 8
"""Rows narrower than this say nothing about being unrelated."""


def write_rows(
    notes: Notes, rule: str, column: str, judged: Judged, arbiter: Mapping[int, NDArray[Any]], *, named: bool
) -> None:
    """Write one finding per wrong row, earliest layer first; positions share one finding."""
    wrong = np.array([group.failed | ~group.finite for group in judged.groups])
    wrong_rows = np.flatnonzero(wrong.any(axis=0))
    unjudged = np.array([group.finite & np.isnan(group.allowance.largest) for group in judged.groups])
    if unjudged.any():
        notes.skip(column, f"{int(unjudged.sum())} row(s) where the reference itself overflows at this dtype")
    limit = MAX_ROWS_NAMED if named else 1
    for count, row in enumerate(wrong_rows[:limit]):
        number = int(np.flatnonzero(wrong[:, row])[0])
        more = len(wrong_rows) - limit if count == limit - 1 else 0
        tail = f"; and {more} more of {judged.rows.size} rows" if more > 0 else ""
        third = arbiter.get(int(judged.rows[row]))
        _write_row(
            notes,
            rule,
            column,
            judged,
            number,
            int(row),
            None if third is None else _arbiter_group(third, number),
            named=named,
            tail=tail,
        )


def _arbiter_group(third: NDArray[Any], number: int) -> NDArray[Any]:
    """Return the arbiter's part for one group: `[W]`, or `[layers, 2, kv_heads, D]` by layer and K or V."""
    return third if third.ndim == 1 else third.reshape(third.shape[0] * third.shape[1], -1)[number]


def _write_row(
    notes: Notes,
    rule: str,
    column: str,
    judged: Judged,
    number: int,
    row: int,
    third: NDArray[Any] | None,
    *,
    named: bool,
    tail: str,
) -> None:
    """Write the finding of one wrong row."""
    group = judged.groups[number]
    place = int(judged.rows[row])
    kind = "node" if named else "position"
    what = f"{group.label} at {kind} {place}" if group.label else f"{column} of {kind} {place}"
    node = place if named else None
    if not group.finite[row]:
        who = _nonfinite_side(bool(group.fused_finite[row]), bool(group.truth_finite[row]))
        bad = group.fused[row] if not group.fused_finite[row] else group.truth[row]
        notes.finding(
            "JUDGE-NONFINITE",
            column,
            f"{what}: {int((~np.isfinite(bad)).sum())} of {bad.size} values are NaN or Inf ({who} path){tail}",
            guilty=who,
            node=node,
        )
        return
    worst = int(np.argmax(np.abs(group.fused[row] - group.truth[row])))
    allowance, allowance_rms = float(group.allowance.largest[row]), float(group.allowance.rms[row])
    who = guilty(group.fused[row], group.truth[row], third, allowance, allowance_rms)
    values: dict[str, Any] = {
        "guilty": who,
        "node": node,
        "fused": float(group.fused[row, worst]),
        "reference": float(group.truth[row, worst]),
        "allowance": allowance,
        "gap": float(group.error[row]),
    }
    other = _whose_row(group, row)
    if other is not None:
        source = int(judged.rows[other])
        notes.finding(
            "JUDGE-ROW-MOVED",
            column,
            f"{what} holds the row of {kind} {source} instead of its own{tail}",
            **values,
        )
        return
    sentence, unrelated = _how_far(group, row)
    notes.finding(
        rule, column, f"{what} {sentence}{tail}", verdict="structural" if unrelated else "", **values
    )


def _nonfinite_side(fused_finite: bool, truth_finite: bool) -> str:
    """Return whose row is not finite."""
    if fused_finite:
        return "reference"
    return "fused" if truth_finite else "both"


def _whose_row(group: GroupRows, row: int) -> int | None:
    """Return another row whose truth this row matches within that row's allowances, or None."""
    error = group.fused[row] - group.truth
    with np.errstate(invalid="ignore"):
        match = (largest(error) <= group.allowance.largest) & (root_mean_square(error) <= group.allowance.rms)
    match[row] = False
    return int(np.flatnonzero(match)[0]) if match.any() else None


def _how_far(group: GroupRows, row: int) -> tuple[str, bool]:
    """Say how far a row is off, and whether that is too far to be rounding."""
    error, allowance, norm = group.error[row], group.allowance.largest[row], "is off by"
    if error <= allowance:
        error, allowance, norm = (
            group.error_rms[row],
            group.allowance.rms[row],
            "is off (root-mean-square) by",
        )
    size = float(root_mean_square(group.truth[row]))
    share = float(group.error_rms[row]) / size if size > 0 else np.inf
    unrelated = share >= UNRELATED and group.truth.shape[1] >= MIN_WIDTH
    sentence = f"{norm} {error:.3g} where rounding allows {allowance:.3g} ({error / allowance:.3g} times)"
    if unrelated:
        sentence += f"; that is {share:.0%} of the row's own size: another position, row or tap, not rounding"
    return sentence, unrelated
