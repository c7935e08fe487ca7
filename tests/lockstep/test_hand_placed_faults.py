"""Faults placed by hand in a stage of either path end in the right stage, node and guilty path.

Each test wraps one stage and nothing else, so the first finding must be of that stage. A clean run of the
same setup is silent (`test_staged.py`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.lockstep.runs import Outcome, run
from tracing.stages import Committed, DecodePath, Drafted, Stages, Tensorized, Verified


def expect(
    outcome: Outcome, stage: str, *, guilty: str = "fused", verdicts: tuple[str, ...] = ("structural",)
) -> None:
    first = outcome.first
    assert first is not None, "the fault was not noticed"
    assert (first.moment.stage, first.guilty) == (stage, guilty), first
    assert first.verdict in verdicts, first
    assert outcome.verdict.exit_code == 1


def test_position_one_too_far(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def tensorize(state: object, drafted: Drafted) -> Tensorized:
            made = stages.tensorize(state, drafted)
            positions = made.position_ids.copy()
            positions[3] += 1
            return replace(made, position_ids=positions)

        return replace(stages, tensorize=tensorize)

    outcome = run(tmp_path / "run", fused=faulty)
    expect(outcome, "tensorize")
    assert outcome.first.moment.node == 3


def test_a_sibling_is_visible(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def tensorize(state: object, drafted: Drafted) -> Tensorized:
            made = stages.tensorize(state, drafted)
            visible = made.visible.copy()
            visible[2, 1] = True
            return replace(made, visible=visible)

        return replace(stages, tensorize=tensorize)

    outcome = run(tmp_path / "run", fused=faulty)
    expect(outcome, "tensorize")
    assert outcome.first.moment.node == 2


def test_the_kernel_gets_another_mask_than_was_built(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tensorized: Tensorized) -> Verified:
            visible = tensorized.visible.copy()
            visible[2, 1] = True
            return stages.verify(state, replace(tensorized, visible=visible))

        return replace(stages, verify=verify)

    outcome = run(tmp_path / "run", fused=faulty)
    expect(outcome, "verify")
    assert outcome.first.moment.node == 2


def test_a_wrong_parent(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def draft(state: object) -> Drafted:
            made = stages.draft(state)
            parents = made.parents.copy()
            deep = int(np.flatnonzero(made.depths == 2)[0])
            parents[deep] = next(n for n in np.flatnonzero(made.depths == 1) if n != parents[deep])
            return replace(made, parents=parents)

        return replace(stages, draft=draft)

    expect(run(tmp_path / "run", fused=faulty), "draft")


@pytest.mark.parametrize("shift", [1, -1])
def test_a_shifted_feature_row(tmp_path: Path, shift: int) -> None:
    """The drafter pairs feature j with token j + 1; a row shifted by one still drafts fluent text."""

    def faulty(stages: Stages) -> Stages:
        def commit(state: object, tensorized: Tensorized, verified: Verified, accepted: object) -> Committed:
            shifted = replace(verified, features=torch.roll(verified.features, shift, 0))
            return stages.commit(state, tensorized, shifted, accepted)

        return replace(stages, commit=commit)

    # How unlike the rows are is up to the weights: a row may be off by rounding times 10^4, or be unrelated.
    expect(run(tmp_path / "run", fused=faulty), "draft", verdicts=("structural", "numeric"))


def test_the_wrong_tap(tmp_path: Path) -> None:
    """Low and middle features swapped: the shapes fit, the drafter is only worse."""

    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tensorized: Tensorized) -> Verified:
            made = stages.verify(state, tensorized)
            low, middle, high = made.features.chunk(3, -1)
            return replace(made, features=torch.cat([middle, low, high], -1))

        return replace(stages, verify=verify)

    outcome = run(tmp_path / "run", fused=faulty)
    expect(outcome, "verify", verdicts=("structural", "numeric"))
    assert outcome.first.column == "features"


def test_a_stale_cache_row_after_commit(tmp_path: Path) -> None:
    def faulty(path: DecodePath) -> DecodePath:
        stages = path.stages

        def commit(state: object, tensorized: Tensorized, verified: Verified, accepted: object) -> Committed:
            made = stages.commit(state, tensorized, verified, accepted)
            _overwrite_last_row(state)
            return made

        return replace(path, stages=replace(stages, commit=commit))

    expect(run(tmp_path / "run", path=faulty), "commit")


def _overwrite_last_row(state: object) -> None:
    """Put the row before the last committed one in its place, in the first layer."""
    layer = state.caches.main_cache.layers[0]
    length = layer.get_seq_length()
    layer.keys[:, :, length - 1] = layer.keys[:, :, length - 2]


def test_a_wrong_row_decides_the_final_token(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def accept(*given: object) -> object:
            made = stages.accept(*given)
            wrong = (made.final_token_id + 1) % 60
            emitted = made.emitted_token_ids.copy()
            emitted[-1] = wrong
            return replace(made, final_token_id=wrong, emitted_token_ids=emitted)

        return replace(stages, accept=accept)

    expect(run(tmp_path / "run", fused=faulty), "accept")


def noisy(scale: float, *, rows: slice = slice(None)) -> object:
    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tensorized: Tensorized) -> Verified:
            made = stages.verify(state, tensorized)
            generator = torch.Generator().manual_seed(5)
            noise = torch.randn(made.logits.shape, generator=generator) * scale * made.logits.abs().max()
            logits = made.logits.clone()
            logits[rows] += noise[rows]
            chosen = logits.argmax(-1).numpy()
            return replace(made, logits=logits, target_token_ids=chosen)

        return replace(stages, verify=verify)

    return faulty


@pytest.mark.parametrize("scale", [1e-4, 1e-3, 1e-2, 1e-1])
def test_a_noisy_kernel_is_numeric_and_a_bigger_bug_never_a_nearer_tie(tmp_path: Path, scale: float) -> None:
    outcome = run(tmp_path / "run", fused=noisy(scale))
    first = outcome.first
    assert first is not None
    assert (first.moment.stage, first.column, first.guilty) == ("verify", "logits", "fused")
    assert first.verdict == "numeric"
    assert outcome.verdict.near_ties == 0


def test_one_bad_row(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", fused=noisy(1e-3, rows=slice(5, 6)))
    assert {finding.moment.node for finding in outcome.log.findings} == {5}


def test_a_kernel_that_differs_with_itself(tmp_path: Path) -> None:
    calls = iter(range(1000))

    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tensorized: Tensorized) -> Verified:
            made = stages.verify(state, tensorized)
            generator = torch.Generator().manual_seed(next(calls))
            noise = torch.randn(made.logits.shape, generator=generator) * 1e-2
            return replace(made, logits=made.logits + noise)

        return replace(stages, verify=verify)

    expect(run(tmp_path / "run", fused=faulty), "verify", verdicts=("nondeterministic",))


def test_the_reference_sees_a_sibling(tmp_path: Path) -> None:
    """The reference can be the wrong one: the replay rung says so."""

    def faulty(runner: object) -> None:
        rung = runner.stages.rung

        def verify(models, committed, token_ids, position_ids, visible):  # noqa: ANN001, ANN202
            leaked = visible.copy()
            leaked[2, 1] = True
            return rung.verify(models, committed, token_ids, position_ids, leaked)

        runner.stages = replace(runner.stages, rung=replace(rung, verify=verify))

    outcome = run(tmp_path / "run", reference=faulty)
    assert outcome.first.moment.stage == "verify"
    assert outcome.first.guilty == "reference"
    assert outcome.first.moment.node == 2


def test_the_reference_accepts_past_the_choice(tmp_path: Path) -> None:
    def faulty(runner: object) -> None:
        accept = runner.stages.accept

        def wrong(*given: object) -> object:
            made = accept(*given)
            return replace(made, final_token_id=(made.final_token_id + 1) % 60)

        runner.stages = replace(runner.stages, accept=wrong)

    outcome = run(tmp_path / "run", reference=faulty)
    assert outcome.first.moment.stage == "accept"
    assert outcome.first.guilty == "reference"


def test_a_stage_that_raises_is_a_finding_and_the_trace_stays_whole(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tensorized: Tensorized) -> Verified:
            raise RuntimeError("aicore exception 507015")

        return replace(stages, verify=verify)

    outcome = run(tmp_path / "run", fused=faulty)
    expect(outcome, "verify")
    assert "507015" in outcome.first.message
