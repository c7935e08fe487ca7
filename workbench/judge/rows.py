"""The float rule, row by row: finite, its own row, and within the allowance in both norms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from workbench.judge.measured import Judged, as_groups, group_label, measure_groups
from workbench.judge.notes import Notes
from workbench.judge.row_findings import write_rows
from workbench.judge.row_truth import RowTruth
from workbench.judge.typical import from_truth


def judge_rows(
    notes: Notes,
    rule: str,
    column: str,
    quantity: RowTruth | None,
    *,
    valid: NDArray[np.bool_] | None = None,
) -> Judged | None:
    """Judge one float quantity and write down what is wrong with it.

    Args:
        notes: Where to record.
        rule: Rule of a row beyond its allowance.
        column: What the quantity is called, e.g. `logits`.
        quantity: The rows, or None.
        valid: Whether each node is one, `[N]`; given when rows are nodes, None when they are positions.

    Returns:
        The measured groups, or None when the quantity could not be judged at all.
    """
    if quantity is None or quantity.fused is None:
        notes.lacks(column)
        return None
    if quantity.truth is None:
        notes.lacks(column, "the reference does not provide it")
        return None
    reason = why_not(quantity.samples, quantity.truth, notes.dtype) if quantity.typical is None else ""
    if reason:
        notes.skip(column, reason)
        return None
    if quantity.fused.shape != quantity.truth.shape:
        notes.finding(
            "JUDGE-SHAPE",
            column,
            f"{column} has shape {list(quantity.fused.shape)}, expected {list(quantity.truth.shape)}",
            fused=str(list(quantity.fused.shape)),
            reference=str(list(quantity.truth.shape)),
        )
        return None
    judged = _measured(quantity, quantity.fused, quantity.truth, notes.dtype, valid)
    if judged.rows.size == 0:
        notes.skip(column, "no valid row")
        return None
    notes.check(column)
    allowances = np.concatenate([group.allowance.largest for group in judged.groups])
    if quantity.typical is not None:
        allowances = allowances * from_truth(notes.dtype)
    notes.allow(column, allowances, np.concatenate([group.size.largest for group in judged.groups]))
    write_rows(notes, rule, column, judged, quantity.arbiter, named=valid is not None)
    return judged


def why_not(samples: tuple[NDArray[Any], ...], truth: NDArray[Any], dtype: str) -> str:
    """Return why a quantity of a path of this dtype cannot be judged, or an empty string."""
    if not samples:
        return f"no result of the reference at {dtype}, hence no allowance"
    if dtype == "float32" and truth.dtype != np.float64:
        return f"the truth should be float64, one precision above the path, and is {truth.dtype}"
    return ""


def _measured(
    quantity: RowTruth,
    fused: NDArray[Any],
    truth: NDArray[Any],
    dtype: str,
    valid: NDArray[np.bool_] | None,
) -> Judged:
    """Keep the valid rows and measure every group."""
    for sample in quantity.samples:
        if sample.shape != truth.shape:
            raise UsageError(
                f"samples of the reference should have the truth's shape {list(truth.shape)}, "
                f"got {list(sample.shape)}"
            )
    grouped = as_groups(fused)
    num_rows = grouped.shape[1]
    rows = np.arange(num_rows) if quantity.rows is None else np.asarray(quantity.rows, dtype=np.int64)
    if rows.shape != (num_rows,):
        raise UsageError(f"rows should name {num_rows} rows, got {list(rows.shape)}")
    keep = np.ones(num_rows, dtype=bool) if valid is None else np.asarray(valid, dtype=bool)[rows]
    exact, samples = as_groups(truth), tuple(as_groups(sample) for sample in quantity.samples)
    labels = [group_label(truth, number) for number in range(grouped.shape[0] if keep.any() else 0)]
    if not keep.all():
        grouped, exact = grouped[:, keep], exact[:, keep]
        samples = tuple(sample[:, keep] for sample in samples)
    groups = measure_groups(labels, grouped, exact, samples, dtype, typical=quantity.typical)
    return Judged(groups, rows[keep])
