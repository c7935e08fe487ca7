"""How far tokens are behind the true choice after a prefix, and how far rounding allows them to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reference.teacher import TeacherRows
from workbench.judge.allowance import row_allowances
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.chosen_experts import worked
from workbench.lockstep.truth.reference_runner import ReferenceRunner


@dataclass(frozen=True, slots=True)
class TokenGaps:
    """Tokens against the truth.

    Attributes:
        gaps: True logit of the best token less that of each token; infinite where there is no token.
        allowance: The largest gap of a near tie, twice the row's allowance.
    """

    gaps: tuple[float, ...]
    allowance: float


def token_gaps(
    runner: ReferenceRunner, prefix: Sequence[int], token_ids: Sequence[int | None], dtype: str
) -> TokenGaps:
    """Measure tokens that may follow a prefix.

    Args:
        runner: Computes the truth and the samples.
        prefix: Token ids before the tokens in question.
        token_ids: The tokens; None where a text ends.
        dtype: The dtype of who chose them.
    """
    rows = runner.prefill(prefix)
    measured = _gaps(rows, token_ids, dtype)
    while any(measured.allowance < gap < math.inf for gap in measured.gaps):
        more = runner.more(len(rows) - 1)
        if not more:
            break
        rows += runner.prefill(prefix, more, chosen=worked(rows))
        measured = _gaps(rows, token_ids, dtype)
    return measured


def _gaps(rows: Sequence[TeacherRows], token_ids: Sequence[int | None], dtype: str) -> TokenGaps:
    truth, *samples = (host_floats(each.logits)[-1] for each in rows)
    allowances = row_allowances(truth[None], tuple(one[None] for one in samples), dtype)
    best = float(np.max(truth))
    gaps = tuple(math.inf if token is None else best - float(truth[token]) for token in token_ids)
    return TokenGaps(gaps, 2 * float(allowances.largest[0]))
