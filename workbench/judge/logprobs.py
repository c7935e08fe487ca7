"""Judges the log-probabilities that an engine returned with a text by the true logits of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workbench.judge.allowance import row_allowances
from workbench.judge.notes import Notes

RAW: Final = ("raw_logprobs", "raw_logits")
"""Modes that follow from the model's logits alone."""
RETURNED: Final = 1e-3
"""Rounding of what is returned, as a share of it and in nat."""
COLUMN: Final = "emitted_logprobs"


def judge_logprobs(
    notes: Notes,
    recorded: NDArray[Any],
    *,
    path: Sequence[int],
    emitted: Sequence[int],
    mode: str,
    logits: Sequence[NDArray[Any]],
) -> None:
    """Judge each value against that of its token in its row.

    It may be off by twice what a logit of its row may be off by, and by the rounding of what is returned.

    Args:
        notes: Of accept.
        recorded: `emitted_logprobs`, `[E]`.
        path: The root and the accepted nodes.
        emitted: Tokens that the user got.
        mode: As `SamplingSettings.logprobs_mode`.
        logits: Of the nodes: the truth, then samples, each `[N, V]`.
    """
    if mode not in RAW:
        notes.skip(COLUMN, "the mode of log-probabilities is not stated, or of processed logits")
        return
    notes.check(COLUMN)
    rows = list(path)[: len(emitted)]
    truth, *samples = (np.asarray(each, dtype=np.float64)[rows] for each in logits)
    allowed = row_allowances(truth, tuple(samples), notes.dtype).largest
    meant = [value_of(row, token, mode) for row, token in zip(truth, emitted, strict=False)]
    for place, (came, law) in enumerate(zip(recorded.tolist(), meant, strict=False)):
        allowance = 2 * float(allowed[place]) + RETURNED * (1 + abs(law))
        if abs(came - law) <= allowance:
            continue
        message = f"token {emitted[place]} was returned with {came:.6g} as {mode}, its row says {law:.6g}"
        others = [row for row, other in enumerate(meant) if row != place and abs(came - other) <= allowance]
        if others:
            message += f"; that is the value of token {emitted[others[0]]} after node {rows[others[0]]}"
        notes.finding(
            "JUDGE-ACCEPT-LOGPROBS",
            COLUMN,
            message,
            node=rows[place],
            fused=came,
            reference=law,
            allowance=allowance,
            gap=abs(came - law),
        )
        return
    if len(recorded) != len(emitted):
        message = f"{len(recorded)} log-probabilities were returned for {len(emitted)} emitted tokens"
        notes.finding("JUDGE-ACCEPT-LOGPROBS", COLUMN, message, fused=len(recorded), reference=len(emitted))


def value_of(row: NDArray[np.float64], token: int, mode: str) -> float:
    """Return the logit of a token in a row `[V]`, or its log-probability."""
    if not 0 <= token < len(row):
        return float("nan")
    top = float(row.max())
    norm = 0.0 if mode == "raw_logits" else top + float(np.log(np.exp(row - top).sum()))
    return float(row[token]) - norm
