"""Trace columns that take more than one stage result, or a computation; the same for both paths."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tracing.codec import row_columns
from tracing.stages import Drafted, Tensorized, Verified
from workbench.lockstep.tensors.host import host_floats

Columns = dict[str, Any]
_FOLDED: Final = 256
"""Maxima that a row of logits is folded to."""


def tree_columns(drafted: Drafted | None, tensorized: Tensorized | None) -> Columns:
    """Columns of draft and tensorize; what a draft has per node is recorded over all N rows."""
    columns: Columns = {}
    if drafted is not None:
        columns |= row_columns(drafted, None if tensorized is None else len(tensorized.parents))
    if tensorized is not None:
        columns |= row_columns(tensorized)
    if drafted is not None and tensorized is not None:
        copied = tensorized.parents[: len(drafted.parents)]
        columns |= {} if np.array_equal(drafted.parents, copied) else {"draft_parents": drafted.parents}
    return columns


def verify_columns(verified: Verified, num_top: int) -> Columns:
    """Columns of verify; `num_top` logits per node, best first, ties to the lower id."""
    logits = host_floats(verified.logits)
    top_ids, top_logits = top_logits_of(logits, num_top)
    return row_columns(verified) | {"target_top_ids": top_ids, "target_top_logits": top_logits}


def top_logits_of(logits: Any, num_top: int) -> tuple[Any, Any]:
    """Return the ids and values of the best `num_top` logits of each row, ties to the lower id.

    A row is folded to a few maxima. So many of them are at least as large as the last of the best of these
    maxima, that no logit below it can be among the best; only columns under such maxima are looked at, and
    only the few logits of them that are large enough are sorted.
    """
    recorded = np.ascontiguousarray(as_recorded(logits))
    num_rows, width = recorded.shape
    num_top = min(num_top, width)
    num_folds = max(width // max(_FOLDED, num_top), 1)
    folded = width // num_folds
    maxima = recorded[:, : folded * num_folds].reshape(num_rows, num_folds, folded).max(axis=1)
    if not num_top or np.isnan(maxima.max(initial=0)):  # NaN is no maximum here, and the last of its row
        order = np.argsort(-recorded, axis=1, kind="stable")[:, :num_top]
        return order, np.take_along_axis(recorded, order, axis=1)
    least = np.partition(maxima, folded - num_top, axis=1)[:, folded - num_top]
    rows, ids = np.divmod(_at_least(recorded, least, maxima, num_folds), width)
    values = recorded[rows, ids]
    best_first = np.lexsort((-values, rows))
    starts = np.searchsorted(rows, np.arange(num_rows))
    chosen = best_first[starts[:, None] + np.arange(num_top)]
    return ids[chosen], values[chosen]


def _at_least(recorded: Any, least: Any, maxima: Any, num_folds: int) -> Any:
    """Return where logits of each row are at least as large as `least` says, in order of the flat array.

    Args:
        recorded: Logits, contiguous, `[R, V]`; no NaN under the maxima.
        least: `[R]`.
        maxima: Of each row folded, `[R, W]`; the columns behind `W * num_folds` are in none of them.
        num_folds: How often a row is folded.
    """
    width, folded = recorded.shape[1], maxima.shape[1]
    rows, columns = np.divmod(np.flatnonzero(maxima >= least[:, None]), folded)
    at = (rows * width + columns)[:, None] + np.arange(num_folds) * folded
    found = at[recorded.reshape(-1)[at] >= least[rows, None]]
    behind = np.flatnonzero(recorded[:, folded * num_folds :] >= least[:, None])
    if len(behind):
        row, column = np.divmod(behind, width - folded * num_folds)
        found = np.concatenate([found, row * width + folded * num_folds + column])
    return np.sort(found)


def as_recorded(logits: Any) -> Any:
    """Round logits to float32, as a trace keeps them: choices by wider ones would not follow from the row."""
    return logits.astype(np.float32, copy=False)
