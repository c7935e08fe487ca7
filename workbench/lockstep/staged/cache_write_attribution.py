"""Which stage wrote into a cache that is not its to write: the step once more on a copy, stage by stage.

The committed cache is digested around verify and after commit, so what an earlier stage wrote is noticed
later and looks like another stage's work. Only after such a finding is it worth the time to find out.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import numpy as np

from tracing.finding import Finding
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.failures import fused_finding
from workbench.lockstep.engine.under_test import Digests, PathUnderTest, StepResults
from workbench.lockstep.tensors.digests import kv_row_digests

RULE: Final = "JUDGE-CACHE-WRITTEN"
SUSPICIOUS: Final = frozenset(
    {
        *("KV004", "KV005", "JUDGE-COMMIT-PREFIX", "JUDGE-COMMIT-ROWS"),
        *("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS"),
    }
)
"""Rules that a write of another stage than theirs may break."""


def attribute_cache_write(
    before: PathUnderTest | None, turn_state: TurnState, results: StepResults
) -> tuple[Finding, ...]:
    """Return the stage that wrote into the committed cache or the tree's rows although it may only read.

    Args:
        before: The path under test as it stood before the step; None when its state cannot be copied.
        turn_state: The turn, not yet moved on by this step.
        results: What the step gave.
    """
    copy = None if before is None else before.snapshot()
    if copy is None:
        return ()
    try:
        return _first_write(copy, turn_state, results)
    except Exception:  # noqa: BLE001  a port may raise anything when it runs again; then the finding stays unexplained
        return ()


def _first_write(copy: PathUnderTest, turn_state: TurnState, results: StepResults) -> tuple[Finding, ...]:
    given: dict[str, tuple[Any, ...]] = {
        "draft": (),
        "tensorize": (results.drafted,),
        "verify": (results.tensorized,),
        "accept": (results.tensorized, results.verified, turn_state.remaining),
    }
    main, tree = copy.main_rows(), None
    for stage, arguments in given.items():
        if not copy.provides(stage) or any(value is None for value in arguments):
            return ()
        copy.call(stage, *deepcopy(arguments))
        was, main = main, copy.main_rows()
        if stage == "verify":
            tree = _tree_rows(copy, results)
            continue
        for cache, before, after in (
            ("main", was, main),
            ("branch", tree, None if tree is None else _tree_rows(copy, results)),
        ):
            row = _first_change(before, after)
            if row is not None:
                return (_finding(turn_state, stage, cache, row),)
    return ()


def _tree_rows(under_test: PathUnderTest, results: StepResults) -> Digests | None:
    assert results.tensorized is not None
    start = results.committed_len
    rows = under_test.rows("branch", range(start, start + len(results.tensorized.token_ids)))
    return None if rows is None else kv_row_digests(rows)


def _first_change(was: Digests | None, now: Digests | None) -> int | None:
    if was is None or now is None:
        return None
    if len(was) != len(now):
        return min(len(was), len(now))
    changed = np.flatnonzero(was != now)
    return int(changed[0]) if changed.size else None


def _finding(turn_state: TurnState, stage: str, cache: str, row: int) -> Finding:
    what = f"committed row {row}" if cache == "main" else f"the tree's row {row}"
    message = f"{stage} wrote into {what}, and may only read; seen when the step was run again on a copy"
    column = "kv_digest_before" if cache == "main" else "kv_row_digests"
    at = turn_state.moment.at(stage, row if cache == "branch" else None)
    return fused_finding(RULE, at, message, column, fused=row)
