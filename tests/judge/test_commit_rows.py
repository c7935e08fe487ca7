"""A wrong row after commit is told by whose bits it has, never as one number beside the same number."""

from __future__ import annotations

import numpy as np
import pytest

from tracing.moment import Moment
from workbench.judge.commit import judge_commit
from workbench.judge.evidence import CommitEvidence
from workbench.judge.notes import Notes

BEFORE = np.arange(100, 104, dtype=np.uint64)
BRANCH = np.arange(7, 13, dtype=np.uint64)


@pytest.mark.parametrize(
    ("kept", "held"),
    [
        (BRANCH[0], ""),
        (BRANCH[2], "those of node 2"),
        (BEFORE[3], "those of committed row 3"),
        (np.uint64(5), "those of no node of this step (stale or altered)"),
    ],
)
def test_whose_bits_a_row_has(kept: np.uint64, held: str) -> None:
    """The root's row stays at its place: row and position are the same number."""
    notes = Notes(Moment(0, 0, 0), "commit")
    judge_commit(
        notes,
        CommitEvidence(
            committed_len=4,
            path_indices=np.array([4, 5]),
            rows_before=BEFORE,
            branch_rows=BRANCH,
            rows_after=np.array([*BEFORE, kept, BRANCH[1]], dtype=np.uint64),
        ),
    )
    said = [(each.rule, each.fused, each.reference, each.message) for each in notes.findings]
    law = "the bits of node 0"
    message = f"row 4 should hold {law} and holds {held}"
    assert said == ([("JUDGE-COMMIT-ROWS", held, law, message)] if held else [])
