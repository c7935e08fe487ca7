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
    maxima, that no logit below it can be among the best; only the few others are sorted.
    """
    recorded = as_recorded(logits)
    num_rows, width = recorded.shape
    num_top = min(num_top, width)
    num_folds = max(width // max(_FOLDED, num_top), 1)
    folded = width // num_folds
    maxima = recorded[:, : folded * num_folds].reshape(num_rows, num_folds, folded).max(axis=1)
    if not num_top or np.isnan(maxima).any():  # NaN is no maximum of its fold, and the last of its row
        order = np.argsort(-recorded, axis=1, kind="stable")[:, :num_top]
        return order, np.take_along_axis(recorded, order, axis=1)
    least = np.partition(maxima, folded - num_top, axis=1)[:, folded - num_top, None]
    at = np.flatnonzero(recorded >= least)
    rows, ids = np.divmod(at, width)
    values = recorded.reshape(-1)[at]
    best_first = np.lexsort((-values, rows))
    starts = np.searchsorted(rows, np.arange(num_rows))
    chosen = best_first[starts[:, None] + np.arange(num_top)]
    return ids[chosen], values[chosen]


def as_recorded(logits: Any) -> Any:
    """Round logits to float32, as a trace keeps them: choices by wider ones would not follow from the row."""
    return logits.astype(np.float32, copy=False)
