"""A draft of the root alone: one row, one query, and everything else as in any step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lockstep.runs import SMALL, Setup, run
from tracing.reader import open_run
from tracing.stages import Drafted, Stages, Tensorized


def without_proposals(stages: Stages, every: int = 2) -> Stages:
    """The drafter proposes nothing in every `every`-th step."""
    draft: Any = stages.draft
    steps = iter(range(1000))

    def sometimes(state: Any) -> Drafted:
        drafted: Drafted = draft(state)
        if next(steps) % every:
            return drafted
        return Drafted(token_ids=drafted.token_ids[:1], parents=drafted.parents[:1])

    return replace(stages, draft=sometimes)


@pytest.mark.parametrize(
    "settings",
    [SMALL, replace(SMALL, kv_layout="paged"), replace(SMALL, commit_mode="length")],
    ids=["contiguous", "paged", "length commit"],
)
@pytest.mark.parametrize("rung", ["masked", "cached", "replay"])
def test_a_step_of_one_row_is_legal(tmp_path: Path, settings: Any, rung: str) -> None:
    # Drafts of this port depend on how many there were, so that a repeat differs.
    setup = Setup(settings=settings, rung=rung, options={"repeat": False})
    plain = run(tmp_path / "plain", setup)
    outcome = run(tmp_path / "run", setup, fused=without_proposals)
    assert outcome.verdict.verdict == "ok", outcome.verdict.findings
    assert outcome.staged.finished[0].emitted == plain.staged.finished[0].emitted
    rows = list(open_run(tmp_path / "run").path("fused"))
    assert [len(row["parents"]) for row in rows[:2]] == [1, settings.tree_nodes]
    assert rows[0]["draft_logprobs"] is None
    assert len({row["kernel"] for row in rows}) > 1, "one query row takes another form of the kernel"


def test_one_row_for_more_than_the_root_is_an_invalid_result(tmp_path: Path) -> None:
    """The near miss: a tree of twelve nodes laid out in one row."""

    def cut(tensorize: Callable[..., Tensorized]) -> Callable[..., Tensorized]:
        def first_row(state: Any, drafted: Drafted) -> Tensorized:
            return tensorize(
                state, replace(drafted, token_ids=drafted.token_ids[:1], parents=np.zeros(1, int))
            )

        return first_row

    outcome = run(tmp_path, fused=lambda stages: replace(stages, tensorize=cut(stages.tensorize)))
    assert outcome.verdict.verdict == "structural"
    assert outcome.first.moment.stage == "tensorize"
