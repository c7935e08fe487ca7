"""Staged lockstep without a fault is silent, records every column, and counts what it did not look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reference.model import ReferenceModels
from tests.greedy import greedy_decode
from tests.lockstep.runs import SMALL, Setup, run
from tests.pairs import tiny_pair
from tracing.columns import COLUMNS
from tracing.reader import open_run
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, Stages, Tensorized, Verified
from workbench.judge.recorded.evidence import RecordedFacts
from workbench.judge.recorded.rejudge import judge_recorded, rejudge

CLEAN = {
    "default": Setup(),
    "padded": Setup(settings=replace(SMALL, tree_nodes=40, depth=1)),
    "chain": Setup(settings=replace(SMALL, top_k=1, tree_nodes=4)),
    "full reorder": Setup(settings=replace(SMALL, commit_mode="full_reorder")),
    "cached reference": Setup(rung="cached"),
    "replayed reference": Setup(rung="replay", settings=replace(SMALL, max_new_tokens=6)),
    "eager operators": Setup(eager=frozenset({"attention", "norm", "rotary", "swiglu"})),
    "bfloat16": Setup(dtype="bfloat16"),
    "pangu biases": Setup(pair=tiny_pair(5, "PanguEmbedded", head_dim=16)),
    "qwen3 norms": Setup(pair=tiny_pair(6, "qwen3", head_dim=16, drafter_qk_norm=True)),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_run_has_no_finding(tmp_path: Path, name: str) -> None:
    outcome = run(tmp_path / "run", CLEAN[name])
    assert outcome.log.findings == []
    assert outcome.verdict.verdict in {"ok", "near_tie"}
    assert outcome.verdict.not_checked == {}


def test_the_text_is_that_of_plain_greedy_decoding(tmp_path: Path) -> None:
    setup = Setup()
    outcome = run(tmp_path / "run", setup)
    greedy = greedy_decode(ReferenceModels(setup.pair), setup.prompt, SMALL.max_new_tokens)
    assert outcome.staged.finished[0].emitted == greedy


def test_both_traces_hold_every_column_that_their_path_can_have(tmp_path: Path) -> None:
    recorded = open_run(run(tmp_path / "run").folder)
    for name in ("fused", "reference"):
        lacks = set(recorded.manifest["paths"][name]["lacks"])
        missing = {
            column.name
            for column in COLUMNS
            if all(row.get(column.name) is None for row in recorded.path(name))
        }
        # Columns that speak of something that did not happen in a clean run of one turn.
        quiet = {"commit_fallback", "draft_parents", "launch_refused", "incomplete", "index_sites"}
        names = [column.name for column in COLUMNS]
        of_engines = names[names.index("row_kind") :]  # and of sampling, which this run does not do
        assert missing - lacks - quiet - {*of_engines} == set(), name


def test_a_chain_says_that_the_tree_mask_was_not_exercised(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", CLEAN["chain"])
    assert outcome.verdict.text == "ok (tree mask not exercised)"


def test_unjudged_steps_are_counted_and_never_ok_by_themselves(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", Setup(options={"steps": (1000, None)}))
    assert outcome.staged.unjudged_steps == outcome.staged.finished[0].step
    assert outcome.verdict.verdict == "inconclusive"
    assert outcome.verdict.exit_code == 4


def test_every_second_step(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", Setup(options={"judge_every": 2}))
    steps = outcome.staged.finished[0].step
    assert outcome.verdict.coverage["steps"] == (steps + 1) // 2
    assert outcome.staged.unjudged_steps == steps // 2
    assert outcome.log.findings == []


def partial(stages: Stages) -> Stages:
    return replace(stages, tensorize=None, accept=None)


def test_stages_that_a_port_does_not_provide_are_not_checked(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", fused=partial)
    assert outcome.log.findings == []
    assert {missing.stage for missing in outcome.verdict.not_checked} == {"tensorize", "accept"}
    row = open_run(outcome.folder).path("fused").step(0)
    assert row["accepted_nodes"] is None
    assert row["target_token_ids"] is not None


def out_of_range_parent(stages: Stages) -> Stages:
    def tensorize(state: object, drafted: Drafted) -> Tensorized:
        made = stages.tensorize(state, drafted)
        parents = made.parents.copy()
        parents[4] = 99
        return replace(made, parents=parents)

    return replace(stages, tensorize=tensorize)


def test_a_violated_range_is_not_launched(tmp_path: Path) -> None:
    launched: list[int] = []

    def faulty(stages: Stages) -> Stages:
        broken = out_of_range_parent(stages)

        def verify(state: object, tensorized: Tensorized) -> Verified:
            made = stages.verify(state, tensorized)
            launched.append(1)
            return made

        return replace(broken, verify=verify)

    outcome = run(tmp_path / "run", fused=faulty)
    assert launched == []
    assert outcome.first.rule == "TREE001"
    assert outcome.verdict.exit_code == 1
    assert "verify" in open_run(outcome.folder).path("fused").step(0)["launch_refused"]


def test_a_violated_step_is_finished_on_the_reference_and_decoding_goes_on(tmp_path: Path) -> None:
    options = {"on_violation": "eager", "on_divergence": "resync"}
    setup = Setup(options=options)
    outcome = run(tmp_path / "run", setup, fused=out_of_range_parent)
    greedy = greedy_decode(ReferenceModels(setup.pair), setup.prompt, SMALL.max_new_tokens)
    assert outcome.staged.finished[0].emitted == greedy
    assert outcome.verdict.exit_code == 1


def test_findings_after_a_resync_are_independent(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def tensorize(state: object, drafted: Drafted) -> Tensorized:
            made = stages.tensorize(state, drafted)
            positions = made.position_ids.copy()
            positions[2] += 1
            return replace(made, position_ids=positions)

        return replace(stages, tensorize=tensorize)

    setup = Setup(options={"on_divergence": "resync", "on_violation": "launch"})
    outcome = run(tmp_path / "run", setup, fused=faulty)
    independent = {(f.moment.step, f.moment.stage) for f in outcome.log.findings if not f.consequence}
    steps = outcome.staged.finished[0].step
    assert {step for step, _ in independent} == set(range(steps))
    assert {stage for _, stage in independent} == {"tensorize"}
    recorded = open_run(outcome.folder)
    rejudged = rejudge(
        recorded,
        under_test="fused",
        facts=RecordedFacts(),
        max_new_tokens=None,
        judge=judge_recorded(),
        known=recorded.findings,
    )
    assert set(recorded.findings) <= set(rejudged.findings), "a recorded resync makes independent as well"


def test_end_of_sequence_ends_the_turn_and_is_counted(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain").staged.finished[0].emitted
    eos = plain[6]
    setup = Setup(pair=tiny_pair(3, head_dim=16, eos_token_ids=(eos,)))
    outcome = run(tmp_path / "run", setup)
    assert outcome.staged.finished[0].emitted == plain[: plain.index(eos) + 1]
    assert outcome.verdict.coverage["eos"] == 1
    assert outcome.log.findings == []


def test_a_turn_of_one_token_has_no_step_and_is_inconclusive(tmp_path: Path) -> None:
    setup = Setup(settings=DecodeSettings(tree_nodes=12, depth=3, top_k=4, max_new_tokens=1))
    outcome = run(tmp_path / "run", setup)
    assert len(outcome.staged.finished[0].emitted) == 1
    assert outcome.log.findings == []


def test_the_watch_changes_nothing(tmp_path: Path) -> None:
    """The same path decoded without any watch emits the same tokens with the same logits."""
    from tracing.stages import NullWatch
    from workbench.fused.path import make_path

    setup = Setup()
    path = make_path(setup.pair, setup.settings, device="cpu")
    state = path.begin(NullWatch())
    path.stages.prefill(state, setup.prompt)
    drafted = path.stages.draft(state)
    verified = path.stages.verify(state, path.stages.tensorize(state, drafted))
    row = open_run(run(tmp_path / "run", setup).folder).path("fused").step(0)
    order = np.argsort(-verified.logits.numpy(), axis=1, kind="stable")[:, :8]
    watched = row["target_top_logits"]
    assert np.array_equal(watched, np.take_along_axis(verified.logits.numpy(), order, axis=1))
