"""A finding names the stage that made the mistake, not the one whose columns or texts show it first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reference.path import make_path as make_reference
from tests.lockstep.runs import Setup, run
from tracing.finding import Finding
from tracing.recorder import RunWriter
from tracing.stages import Drafted, Stages, Tensorized, Verified
from workbench.faults.bench import tiny_bench
from workbench.faults.catalogue import BY_NAME
from workbench.faults.experiment import faulty_path
from workbench.judge.recorded.check import check_run
from workbench.judge.verdict import Tally
from workbench.lockstep.free.run import FreeRun
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.traced_back import TraceBack
from workbench.lockstep.truth.reference_runner import ReferenceRunner

FREE = {
    "root-from-another-row": ("prefill", 0),
    "gate-and-up-exchanged": ("prefill", None),
    "wrong-parent": ("draft", 2),
    "latest-candidates-selected": ("draft", 1),
    "prefix-overwritten-between-steps": ("draft", None),
    "parent-renamed": ("tensorize", 2),
    "tree-rewritten-by-verify": ("verify", 1),
    "feature-not-finite": ("verify", 2),
    "bonus-from-the-last-row": ("accept", 6),
    "tree-rows-written-by-accept": ("accept", 1),
    "length-before-misreported": ("commit", None),
}
"""Fault to the stage and the node that free lockstep names."""


def free_findings(folder: Path, name: str) -> list[Finding]:
    setup, placement = tiny_bench().setup("plain"), BY_NAME[name].place()
    shared: dict[str, Any] = {"settings": setup.settings, "context": setup.context, "dtype": setup.dtype}
    turn = Turn(0, 0, lambda before: [*before, *setup.prompt])
    with placement.around():
        runner = ReferenceRunner(setup.pair, setup.settings, path_dtype=setup.dtype, rung=setup.rung)
        reference = make_reference(setup.pair, setup.settings, dtype=runner.truth_dtype, rung=setup.rung)
        with RunWriter(folder, {"lockstep": "free"}) as writer:
            path = faulty_path(setup, placement)
            free = FreeRun(writer=writer, tally=Tally(), runner=runner, **shared)
            done = free.run(path, reference, [turn], lambda _: None)
            TraceBack(path, runner, **shared).after(done, [turn])
    return [finding for finding in done.log.findings if finding.severity == "error"]


@pytest.mark.parametrize("name", FREE)
def test_free_lockstep_names_the_stage(tmp_path: Path, name: str) -> None:
    """A text, a digest or a rule shows a mistake stages later; the turn is decoded again for it."""
    first = free_findings(tmp_path / "run", name)[0]
    assert (first.moment.stage, first.moment.node) == FREE[name]
    assert first.guilty == "fused"


def test_a_prefill_that_is_refused_is_no_crash_of_the_comparison(tmp_path: Path) -> None:
    """There is no text of the path to be settled."""
    found = free_findings(tmp_path / "run", "scale-left-at-one")
    assert [finding.moment.stage for finding in found] == ["prefill"]


def other_root(stages: Stages) -> Stages:
    def draft(state: object) -> Drafted:
        assert stages.draft is not None
        made = stages.draft(state)
        tokens = made.token_ids.copy()
        tokens[0] = (tokens[0] + 1) % 8
        return replace(made, token_ids=tokens)

    return replace(stages, draft=draft)


def test_another_root_in_the_draft_is_the_drafts(tmp_path: Path) -> None:
    """The law that ties it to the context is of the turn's first step, and was booked on prefill."""
    outcome = run(tmp_path / "run", fused=other_root)
    assert {finding.moment.stage for finding in outcome.log.findings[:2]} == {"draft"}
    first = check_run(tmp_path / "run").findings[0]
    assert (first.moment.stage, first.moment.node) == ("draft", 0)


@pytest.mark.parametrize("stage", ["draft", "tensorize", "verify", "commit"])
def test_an_index_is_of_the_stage_that_used_it(tmp_path: Path, stage: str) -> None:
    def reading(stages: Stages) -> Stages:
        honest = getattr(stages, stage)

        def reads(*given: Any) -> Any:
            assert torch.arange(4)[torch.tensor([-1])].item() == 3
            return honest(*given)

        return replace(stages, **{stage: reads})

    outcome = run(tmp_path / "run", Setup(options={"watch_indices": True}), fused=reading)
    assert (outcome.first.rule, outcome.first.moment.stage) == ("IDX002", stage)


def test_logits_changed_in_place_do_not_accuse_the_cache(tmp_path: Path) -> None:
    def changing(stages: Stages) -> Stages:
        def verify(state: object, tree: Tensorized) -> Verified:
            assert stages.verify is not None
            made = stages.verify(state, tree)
            with torch.inference_mode():
                made.logits[0] += 3.0
            return made

        return replace(stages, verify=verify)

    first = run(tmp_path / "run", fused=changing).first
    assert (first.rule, first.moment.stage, first.moment.node) == ("JUDGE-VERIFY-LOGITS", "verify", 0)
    assert "K, V and features are right" in first.message
    assert "the cached prefix" not in first.message
