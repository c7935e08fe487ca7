"""What a stage returns is checked for form and copied; values pass through as they are.

Catches: the path's own later stage changing what is judged, a None that the reference fills in silently, and
an array of another kind or length that would end the run inside the recorder or the reference.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.lockstep.runs import run
from tracing.stage_validation import InvalidStageResultError
from tracing.stages import Accepted, Committed, Drafted, DraftLevel, Prefilled, Stages, Tensorized, Verified
from workbench.lockstep.tensors.host import validated

SIZES = {"L": 4, "N": 3, "V": 6, "F": 2}


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def sound() -> dict[str, Any]:
    level = DraftLevel(beam_flat_ids=ints(), token_ids=ints(3, 4)[None], scores=np.zeros((1, 2), np.float32))
    below = replace(level, beam_flat_ids=ints(0, 1), token_ids=ints(1, 2, 3, 4).reshape(2, 2))
    below = replace(below, scores=np.zeros((2, 2), np.float32))
    tree = {"token_ids": ints(5, 3, 1), "parents": ints(0, 0, 1), "depths": ints(0, 1, 2)}
    logprobs = np.zeros(3, np.float32)
    return {
        "prefill": Prefilled(
            context_token_ids=ints(1, 2, 3, 4, 5), logits=torch.zeros(6), features=torch.zeros(4, 2)
        ),
        "draft": Drafted(**tree, logprobs=logprobs, flat_ids=ints(0, 2), levels=(level, below)),
        "tensorize": Tensorized(
            **tree,
            valid=np.ones(3, np.bool_),
            logprobs=logprobs,
            position_ids=ints(4, 5, 6),
            cache_positions=ints(4, 5, 6),
            visible=np.tri(3, dtype=np.bool_),
        ),
        "verify": Verified(
            visible=np.tri(3, dtype=np.bool_),
            prefix_visible=ints(4, 4, 4),
            other_visible=ints(0, 0, 0),
            logits=torch.zeros(3, 6),
            target_token_ids=ints(3, 1, 2),
            features=torch.zeros(3, 2),
        ),
        "accept": Accepted(
            accepted_nodes=ints(1),
            final_token_id=2,
            emitted_token_ids=ints(3, 2),
            path_indices=ints(4, 5),
        ),
        "commit": Committed(committed_len=4, committed_len_after=6),
    }


@pytest.mark.parametrize("stage", sound())
def test_a_sound_result_passes_as_a_copy(stage: str) -> None:
    given = sound()[stage]
    taken = validated(stage, given, SIZES)
    assert type(taken) is type(given)
    for name in given.__dataclass_fields__:
        ours, theirs = getattr(taken, name), getattr(given, name)
        if isinstance(theirs, (np.ndarray, torch.Tensor)):
            assert ours.dtype == theirs.dtype
            assert ours.tolist() == theirs.tolist()
            theirs[...] = 1 - theirs if theirs.dtype != bool else ~theirs
            assert ours.tolist() != theirs.tolist() or not ours.size, f"{name} is not a copy"


WRONG_VALUES = [
    ("prefill", {"context_token_ids": ints(1, 2, 3, 4, -1)}),
    ("draft", {"parents": ints(0, 0, 99)}),
    ("tensorize", {"position_ids": ints(-4, 999, 0)}),
    ("verify", {"logits": torch.full((3, 6), torch.nan)}),
    ("verify", {"target_token_ids": ints(-1, 10**6, 0)}),
    ("accept", {"accepted_nodes": ints(7, 8, 9), "emitted_token_ids": ints()}),
    ("commit", {"committed_len_after": -3}),
]


@pytest.mark.parametrize(("stage", "change"), WRONG_VALUES)
def test_numbers_that_are_only_wrong_pass_through(stage: str, change: dict[str, Any]) -> None:
    taken = validated(stage, replace(sound()[stage], **change), SIZES)
    for name, value in change.items():
        np.testing.assert_array_equal(getattr(taken, name), value)


EQUIVALENT = [
    ("tensorize", {"depths": [0, 1, 2]}),
    ("tensorize", {"depths": torch.tensor([0, 1, 2])}),
    ("tensorize", {"depths": np.array([0, 1, 2], np.int32)}),
    ("tensorize", {"valid": torch.ones(3, dtype=torch.bool)}),
    ("verify", {"features": np.zeros((3, 2), np.float32)}),
    ("accept", {"accepted_nodes": [], "final_token_id": torch.tensor(2)}),
    ("accept", {"final_token_id": np.int64(2)}),
]


@pytest.mark.parametrize(("stage", "change"), EQUIVALENT)
def test_other_containers_of_the_same_numbers_are_no_fault(stage: str, change: dict[str, Any]) -> None:
    taken = validated(stage, replace(sound()[stage], **change), SIZES)
    for name, value in change.items():
        assert np.asarray(getattr(taken, name)).tolist() == np.asarray(value).tolist()
        kinds = {type(getattr(taken, name)), type(getattr(sound()[stage], name))}
        assert len(kinds) == 1


INVALID = [
    ("prefill", {"features": torch.zeros(3, 2)}, "features"),
    ("prefill", {"logits": torch.zeros(6, dtype=torch.int64)}, "logits"),
    ("prefill", {"context_token_ids": ints(1, 2, 3, 4)}, "context_token_ids"),
    ("draft", {"flat_ids": ints(0, 2, 3)}, "flat_ids"),
    ("draft", {"levels": (None,)}, "levels"),
    ("draft", {"levels": sound()["draft"].levels[:1] * 2}, "levels"),
    ("draft", {"levels": sound()["draft"].levels[1:]}, "levels"),
    ("tensorize", {"depths": np.zeros(3)}, "depths"),
    ("tensorize", {"depths": ints(0, 1)}, "depths"),
    ("tensorize", {"depths": ints(0, 1, 2)[None]}, "depths"),
    ("tensorize", {"depths": None}, "depths"),
    ("tensorize", {"depths": [0, None, 2]}, "depths"),
    ("tensorize", {"depths": [[0], [1, 2]]}, "depths"),
    ("tensorize", {"depths": "deep"}, "depths"),
    ("tensorize", {"valid": ints(1, 1, 1)}, "valid"),
    ("tensorize", {"visible": np.ones((3, 4), np.bool_)}, "visible"),
    ("verify", {"logits": torch.zeros(2, 6)}, "logits"),
    ("verify", {"logits": None}, "logits"),
    ("verify", {"kernel": None}, "kernel"),
    ("accept", {"final_token_id": 2.5}, "final_token_id"),
    ("accept", {"stop_reason": 1}, "stop_reason"),
    ("accept", {"path_indices": ints(4, 5)[None]}, "path_indices"),
    ("commit", {"committed_len_after": None}, "committed_len_after"),
    ("commit", {"prefix_kept": "yes"}, "prefix_kept"),
]


@pytest.mark.parametrize(("stage", "change", "column"), INVALID)
def test_another_form_names_its_column(stage: str, change: dict[str, Any], column: str) -> None:
    with pytest.raises(InvalidStageResultError) as caught:
        validated(stage, replace(sound()[stage], **change), SIZES)
    assert caught.value.column == column


@pytest.mark.parametrize("stage", sound())
@pytest.mark.parametrize("result", [None, (), {"token_ids": ints(1)}])
def test_what_is_no_result_of_the_stage_is_refused(stage: str, result: object) -> None:
    with pytest.raises(InvalidStageResultError, match="should be a "):
        validated(stage, result, SIZES)


@pytest.mark.parametrize("stage", sound())
def test_a_stage_that_returns_nothing_ends_the_run_with_a_finding(tmp_path: Path, stage: str) -> None:
    outcome = run(tmp_path / "run", fused=lambda stages: replace(stages, **{stage: lambda *given: None}))
    first = outcome.first
    assert (first.rule, first.moment.stage, first.guilty, first.verdict) == (
        "JUDGE-SHAPE",
        stage,
        "fused",
        "structural",
    )
    assert outcome.verdict.exit_code == 1


def test_a_later_stage_cannot_change_what_an_earlier_one_is_judged_by(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def accept(state: Any, tree: Tensorized, verified: Verified, remaining: int) -> Accepted:
            verified.target_token_ids[0] += 1
            return stages.accept(state, tree, verified, remaining)

        return replace(stages, accept=accept)

    outcome = run(tmp_path / "run", fused=faulty)
    assert (outcome.first.moment.stage, outcome.first.guilty) == ("accept", "fused")


def with_last(array: Any, value: int) -> Any:
    changed = array.copy()
    changed[..., -1] = value
    return changed


def change_levels(made: Drafted) -> dict[str, Any]:
    last = made.levels[-1]
    return {"levels": (*made.levels[:-1], replace(last, beam_flat_ids=with_last(last.beam_flat_ids, 999)))}


WRONG_IN_A_RUN = {
    "root outside the vocabulary": (
        "prefill",
        lambda made: {"context_token_ids": with_last(made.context_token_ids, -1)},
    ),
    "beam that is no candidate": ("draft", change_levels),
    "parent that is no node": ("draft", lambda made: {"parents": with_last(made.parents, 99)}),
    "candidate outside the vocabulary": (
        "draft",
        lambda made: {"token_ids": with_last(made.token_ids, 10**6)},
    ),
    "flat number that is no candidate": ("draft", lambda made: {"flat_ids": with_last(made.flat_ids, 10**6)}),
    "row with a parent that is none": ("tensorize", lambda made: {"parents": with_last(made.parents, 99)}),
    "row with no position": ("tensorize", lambda made: {"position_ids": with_last(made.position_ids, -7)}),
    "row with no token": ("tensorize", lambda made: {"token_ids": with_last(made.token_ids, 10**6)}),
    "choice outside the vocabulary": (
        "verify",
        lambda made: {"target_token_ids": np.full_like(made.target_token_ids, 10**6)},
    ),
    "accepted node that is none": (
        "accept",
        lambda made: {"accepted_nodes": ints(99), "emitted_token_ids": ints(1, 2)},
    ),
    "kept position that is none": (
        "accept",
        lambda made: {"path_indices": with_last(made.path_indices, 10**6)},
    ),
    "length that is none": ("commit", lambda made: {"committed_len_after": -5}),
}


@pytest.mark.parametrize("name", WRONG_IN_A_RUN)
def test_a_wrong_number_ends_the_run_with_a_finding_and_no_exception(tmp_path: Path, name: str) -> None:
    stage, change = WRONG_IN_A_RUN[name]

    def faulty(stages: Stages) -> Stages:
        def changed(*given: Any) -> Any:
            made = getattr(stages, stage)(*given)
            return replace(made, **change(made))

        return replace(stages, **{stage: changed})

    outcome = run(tmp_path / "run", fused=faulty)
    assert outcome.verdict.exit_code == 1
    assert (outcome.first.moment.stage, outcome.first.guilty) == (stage, "fused")


@pytest.mark.parametrize("node", [99, -1])
def test_an_accepted_node_that_is_none_ends_a_run_whose_path_cannot_commit(tmp_path: Path, node: int) -> None:
    """Nobody refuses a launch here: the loop itself must not index the tree with it."""

    def faulty(stages: Stages) -> Stages:
        def accept(*given: Any) -> Accepted:
            return replace(stages.accept(*given), accepted_nodes=ints(node))

        return replace(stages, accept=accept, commit=None)

    outcome = run(tmp_path / "run", fused=faulty)
    assert outcome.verdict.exit_code == 1
    assert (outcome.first.moment.stage, outcome.first.guilty) == ("accept", "fused")
