"""A stage launches what it was given, and leaves it as it was.

Catches: a scratch buffer shared with what an earlier stage gave, a position written between build and launch.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.lockstep.runs import run
from tests.lockstep.test_stage_validation import SIZES, sound
from tracing.moment import Moment
from tracing.stages import Accepted, Stages, Tensorized, Verified
from workbench.lockstep.engine.stage_inputs import (
    GIVEN,
    expected_at_launches,
    launched_differently,
    written_into,
)
from workbench.lockstep.engine.under_test import RESULT_FIELDS, StepResults
from workbench.lockstep.tensors.host import validated

AT = Moment(0, 1, 2)
VALID = np.array([True, True, False])


def handed_over() -> StepResults:
    """A step of which every stage has given something sound."""
    given = {stage: sound()[stage] for stage in RESULT_FIELDS}
    copies = {RESULT_FIELDS[stage]: validated(stage, value, SIZES) for stage, value in given.items()}
    return StepResults(committed_len=4, inputs=given, **copies)


def writable(stage: str) -> list[str]:
    given = sound()[stage]
    held = {each.name: getattr(given, each.name) for each in fields(given)}
    return [name for name, value in held.items() if isinstance(value, (np.ndarray, torch.Tensor))]


PLACES = [
    (stage, giver, name) for stage, givers in GIVEN.items() for giver in givers for name in writable(giver)
]


OF_NO_NODE = ("flat_ids", "accepted_nodes", "emitted_token_ids", "path_indices")
"""Their entries are numbered otherwise."""


@pytest.mark.parametrize(("stage", "giver", "name"), PLACES)
def test_an_entry_written_by_a_later_stage_is_named(stage: str, giver: str, name: str) -> None:
    results = handed_over()
    array = getattr(results.inputs[giver], name)
    array[-1] = ~array[-1] if array.dtype == bool else array[-1] + 1
    (finding,) = written_into(stage, AT, results, SIZES)
    assert (finding.rule, finding.moment.stage, finding.column) == ("JUDGE-INPUT-WRITTEN", stage, name)
    node = None if name in OF_NO_NODE else len(array) - 1
    assert (finding.moment.node, finding.moment.step, finding.guilty) == (node, 2, "fused")
    assert giver in finding.message
    assert f" {len(array) - 1}" in finding.message


@pytest.mark.parametrize("stage", GIVEN)
def test_what_was_left_alone_is_no_finding(stage: str) -> None:
    assert written_into(stage, AT, handed_over(), SIZES) == ()


def test_a_level_taken_away_is_a_finding_and_no_crash() -> None:
    results = handed_over()
    drafted = results.inputs["draft"]
    object.__setattr__(drafted, "levels", drafted.levels[:1])  # frozen is a word, not a lock
    (finding,) = written_into("tensorize", AT, results, SIZES)
    assert (finding.moment.stage, finding.column) == ("tensorize", "levels")
    assert (finding.fused, finding.reference) == ("1 levels", f"{len(sound()['draft'].levels)} levels")


def test_a_level_and_a_length_are_seen_too() -> None:
    results = handed_over()
    results.inputs["draft"].levels[1].scores[1, 0] = -3.0
    results.inputs["accept"] = replace(results.inputs["accept"], path_indices=np.array([4]))
    (level,) = written_into("tensorize", AT, results, SIZES)
    assert (level.column, level.moment.node) == ("levels[1].scores", None)
    assert "levels[1].scores of beam 1, rank 0" in level.message
    (path,) = written_into("commit", AT, results, SIZES)
    assert (path.column, path.fused) == ("path_indices", "shape [1]")


def test_nan_that_stays_is_no_change() -> None:
    results = handed_over()
    for value in (results.inputs["verify"], results.verified):
        value.features[0, 0] = float("nan")
        value.logits[1] = float("-inf")
    assert written_into("commit", AT, results, SIZES) == ()
    results.inputs["verify"].features[0, 1] = float("nan")
    assert [each.column for each in written_into("commit", AT, results, SIZES)] == ["features"]


def built() -> dict[str, Any]:
    tree = replace(sound()["tensorize"], valid=VALID, slots=np.array([4, 5, 6]))
    return expected_at_launches("tensorize", StepResults(tensorized=tree))


@pytest.mark.parametrize(
    "name", ["token_ids", "parents", "depths", "position_ids", "cache_positions", "slots"]
)
def test_another_value_at_the_launch_is_the_launching_stages_fault(name: str) -> None:
    launched = {key: np.array(value) for key, value in built().items() if value is not None}
    launched[name][1] += 1
    (finding,) = launched_differently("verify", AT, launched, built())
    assert (finding.rule, finding.moment.stage) == ("JUDGE-INPUT-LAUNCHED", "verify")
    assert (finding.column, finding.moment.node, finding.fused) == (name, 1, str(launched[name][1]))


def test_pads_and_columns_that_nobody_gave_may_be_anything() -> None:
    launched = {key: np.array(value) for key, value in built().items() if value is not None}
    launched["position_ids"][2] = 99
    launched |= {"committed_len": np.array(3), "slots": None}
    assert launched_differently("verify", AT, launched, built()) == ()


def test_accept_must_not_use_the_choices_as_scratch_memory(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def accept(state: object, tree: Tensorized, verified: Verified, remaining: int) -> Accepted:
            made = stages.accept(state, tree, verified, remaining)
            verified.target_token_ids[-1] += 1  # nobody reads it any more: the text stays as it is
            return made

        return replace(stages, accept=accept)

    first = run(tmp_path / "run", fused=faulty).first
    assert (first.rule, first.moment.stage, first.column) == (
        "JUDGE-INPUT-WRITTEN",
        "accept",
        "target_token_ids",
    )


def test_what_the_reference_filled_in_is_watched_too(tmp_path: Path) -> None:
    """A partial port that spoils the tree built for it cannot spoil what it is judged by."""

    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tree: Tensorized) -> Verified:
            tree.position_ids[1] += 1
            return stages.verify(state, tree)

        return replace(stages, tensorize=None, verify=verify)

    found = run(tmp_path / "run", fused=faulty, setup=None).log.findings
    assert {each.rule for each in found} >= {"JUDGE-INPUT-LAUNCHED"}
    assert {each.moment.stage for each in found} == {"verify"}


def test_a_rule_that_only_the_launch_violates_blames_the_launch(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tree: Tensorized) -> Verified:
            positions = tree.position_ids.copy()
            positions[1] += 1
            return stages.verify(state, replace(tree, position_ids=positions))

        return replace(stages, verify=verify)

    found = run(tmp_path / "run", fused=faulty).log.findings
    assert {(each.rule, each.moment.stage) for each in found} == {
        ("JUDGE-INPUT-LAUNCHED", "verify"),
        ("POS001", "verify"),
    }


def test_a_rule_that_the_tree_violated_already_blames_who_built_it(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def tensorize(state: object, drafted: object) -> Tensorized:
            made = stages.tensorize(state, drafted)
            made.position_ids[2] += 1
            return made

        def verify(state: object, tree: Tensorized) -> Verified:
            depths = tree.depths.copy()
            depths[1] += 1
            return stages.verify(state, replace(tree, depths=depths))

        return replace(stages, tensorize=tensorize, verify=verify)

    found = run(tmp_path / "run", fused=faulty).log.findings
    assert found[0].moment.stage == "tensorize"
    assert {(each.column, each.moment.stage) for each in found} >= {
        ("position_ids", "tensorize"),
        ("depths", "verify"),
    }


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [("token_ids", 0, 59), ("logprobs", 1, np.nan), ("logprobs", -1, 5.0), ("parents", -1, 1)],
)
def test_a_law_of_the_draft_that_tensorize_broke_blames_tensorize(
    tmp_path: Path, name: str, place: int, value: float
) -> None:
    """The recorded tree is tensorize's copy: what it miscopied was drafted right."""

    def faulty(stages: Stages) -> Stages:
        calls = iter(range(100))

        def tensorize(state: object, drafted: object) -> Tensorized:
            made = stages.tensorize(state, drafted)
            if next(calls):
                getattr(made, name)[place] = value
            return made

        return replace(stages, tensorize=tensorize)

    outcome = run(tmp_path / "run", fused=faulty)
    assert (outcome.first.moment.stage, outcome.first.guilty, outcome.first.moment.step) == (
        "tensorize",
        "fused",
        1,
    )
