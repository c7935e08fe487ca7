"""Distances of draft attention belong to the step that they are recorded with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.lockstep import runs
from tracing.reader import open_run
from tracing.stages import Drafted, Stages
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import run_lockstep
from workbench.faults.placement import Placement
from workbench.judge.recorded.check import check_run


def test_only_nodes_that_were_expanded_have_distances(tmp_path: Path) -> None:
    """A probe that keeps the step before gives its distances to nodes that were not expanded."""
    drafts: list[Drafted] = []

    def watched(stages: Stages) -> Stages:
        def draft(state: object) -> Drafted:
            assert stages.draft is not None
            made = stages.draft(state)
            if not drafts or not np.array_equal(made.token_ids, drafts[-1].token_ids):
                drafts.append(made)  # else a step is repeated
            return made

        return replace(stages, draft=draft)

    settings = replace(runs.SMALL, tree_nodes=40, max_new_tokens=30)
    runs.run(tmp_path / "run", runs.Setup(settings=settings), fused=watched)
    rows = list(open_run(tmp_path / "run").path("fused"))
    unexpanded = 0
    for row, drafted in zip(rows, drafts, strict=True):
        assert drafted.flat_ids is not None
        expanded = np.isin(drafted.flat_ids, row["beam_flat_ids"])
        recorded = ~np.ma.getmaskarray(row["draft_top1_offsets"]).all(axis=1)
        assert recorded[: len(drafted.token_ids)].tolist() == [True, *expanded.tolist()]
        unexpanded += np.count_nonzero(~expanded)
    assert len(rows) > 1
    assert unexpanded


def test_the_rule_leaves_a_path_alone_whose_scores_did_not_rank_the_search(tmp_path: Path) -> None:
    """In bfloat16 the reference's own scores put other candidates first than the path that it follows."""
    plain = tiny_bench().setup("plain")
    settings = replace(plain.settings, max_new_tokens=80)
    setup = replace(plain, dtype="bfloat16", prompt=(1, 2, 3, 4, 5, 6), settings=settings)
    assert run_lockstep(setup, Placement(), tmp_path / "run").findings == ()
    assert check_run(tmp_path / "run").findings == ()
