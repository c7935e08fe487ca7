"""Acceptance of a recorded run against what its drafter expected."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

from tracing.reader import open_run
from workbench.judge.calibration import Calibration, DraftTree

MAX_STEPS: Final = 2000
"""Enough to tell a drafter that is wrong; a long run costs no more."""
UNDER_TEST: Final = "fused"
"""What lockstep records the path under test as, whatever its own name."""
NEEDED: Final = ("token_ids", "parents", "valid", "draft_logprobs", "accepted_nodes")


def acceptance_warnings(folder: Path) -> tuple[str, ...]:
    """Return a sentence where a drafter is sure and wrong; none of a path that does not record its scores.

    Args:
        folder: A run, closed or still being written; every step that has ended is read.
    """
    calibration = Calibration()
    for row in islice(open_run(folder).path(UNDER_TEST), MAX_STEPS):
        if any(row[name] is None for name in NEEDED):
            continue
        size = int(row["valid"].sum())
        tree = DraftTree(row["token_ids"][:size], row["parents"][:size], row["draft_logprobs"][:size])
        calibration.add(tree, row["accepted_nodes"], cut=row["stop_reason"] is not None)
    suspicion = calibration.suspicion()
    return () if suspicion is None else (suspicion,)
