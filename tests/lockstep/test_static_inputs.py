"""Static shapes at the border of operators: our Medusa path keeps its promise, and a broken one is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.lockstep.runs import Setup, run
from tests.lockstep.test_medusa import SETTINGS, medusa_pair
from tracing.moment import Moment
from tracing.stages import DecodePath, Tensorized
from workbench.lockstep.engine.static_inputs import StaticInputs
from workbench.npu.launches import LaunchArgument, MemoryLayout

ALL_EAGER = frozenset({"attention", "norm", "rotary", "swiglu", "scatter"})
AT = Moment(0, 0, 0, "verify")
Inputs = dict[str, torch.Tensor]


@pytest.mark.parametrize(
    ("layout", "block_size", "eager", "seen"),
    [
        ("contiguous", 16, frozenset(), {"token_ids", "blocked"}),
        ("paged", 128, frozenset(), {"token_ids", "blocked", "slots", "block_table"}),
        ("paged", 16, frozenset(), {"token_ids", "slots"}),  # attention is eager: it takes no such blocks
        ("contiguous", 16, ALL_EAGER, {"token_ids"}),
    ],
)
def test_our_static_tree_is_launched_from_one_place(
    tmp_path: Path, layout: str, block_size: int, eager: frozenset[str], seen: set[str]
) -> None:
    settings = replace(SETTINGS, kv_layout=layout, block_size=block_size, max_new_tokens=6)
    outcome = run(tmp_path / "run", Setup(medusa_pair(), settings, eager=eager))
    assert outcome.first is None
    static = outcome.staged._under_test.static
    assert static is not None
    assert static.num_launches == outcome.verdict.coverage["steps"]
    assert {each.name for each in static.launches} == seen


def test_a_path_that_declares_nothing_is_not_watched(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", Setup(settings=replace(Setup().settings, max_new_tokens=4)))
    assert outcome.staged._under_test.static is None


def test_a_window_of_a_port_that_gives_no_tensors_is_a_finding_of_its_own(tmp_path: Path) -> None:
    def broken(path: DecodePath) -> DecodePath:
        return replace(path, static_inputs=lambda _: {"token_ids": 3})  # type: ignore[dict-item]  # on purpose

    settings = replace(SETTINGS, max_new_tokens=4)
    outcome = run(tmp_path / "run", Setup(medusa_pair(), settings), path=broken)
    assert (outcome.first.rule, outcome.first.column) == ("RUN-STAGE-RAISED", "static_inputs")


def step(committed_len: int, tokens: tuple[int, ...] = (5, 6, 7)) -> Tensorized:
    """A root with two children and one pad."""
    visible = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=np.bool_)
    depths = np.array([0, 1, 1, 0])
    return Tensorized(
        token_ids=np.array([*tokens, 0]),
        parents=np.zeros(4, np.int64),
        depths=depths,
        valid=np.array([True, True, True, False]),
        logprobs=None,
        position_ids=committed_len + depths,
        cache_positions=committed_len + np.arange(4),
        visible=visible,
        slots=100 + committed_len + np.arange(4),
    )


def inputs() -> Inputs:
    return {
        "token_ids": torch.zeros(4, dtype=torch.int64),
        "position_ids": torch.zeros(1, 4, dtype=torch.int64),
        "slots": torch.zeros(4, dtype=torch.int32),
        "blocked": torch.ones(1, 1, 4, 40, dtype=torch.bool),
    }


def refresh(held: Inputs, made: Tensorized) -> None:
    start = int(made.cache_positions[0])
    held["token_ids"].copy_(torch.from_numpy(made.token_ids))
    held["position_ids"].copy_(torch.from_numpy(made.position_ids)[None])
    held["slots"].copy_(torch.from_numpy(np.asarray(made.slots)))
    held["blocked"].fill_(True)
    held["blocked"][0, 0, :, :start] = ~torch.from_numpy(made.valid)[:, None]
    held["blocked"][0, 0, :, start : start + 4] = ~torch.from_numpy(made.visible)


def given(held: Mapping[str, torch.Tensor], **other: torch.Tensor) -> list[LaunchArgument]:
    """What two layers' operators were given."""
    names = {"atten_mask": "blocked", "slot_mapping": "slots", "indices": "token_ids"}
    return [
        LaunchArgument("operator", argument, name, MemoryLayout.of(other.get(name, held[name])))
        for argument, name in names.items()
        for _ in range(2)
    ]


def looked(change: Callable[[Inputs, int], Inputs], launches: Any = given) -> list[tuple[str, str]]:
    """Three launches, each after `change`; the rules that were broken, with their columns."""
    static, held, kept = StaticInputs(), inputs(), []
    for number, committed_len in enumerate((9, 11, 14)):
        made = step(committed_len, (number, 6, 7))
        refresh(held, made)
        held = change(held, number)
        kept.append(held)  # so that no address is used twice
        static.launches = launches(held)
        static.look(held, made, replace(AT, step=number))
    return [(each.rule, each.column) for each in static.take()]


def moved(name: str) -> Callable[[Inputs, int], Inputs]:
    return lambda held, number: {**held, name: held[name].clone()} if number else held


def test_refreshed_inputs_at_one_place_are_silent() -> None:
    assert looked(lambda held, _: held) == []


@pytest.mark.parametrize("name", ["token_ids", "position_ids", "slots", "blocked"])
def test_an_input_that_moves_is_told_once(name: str) -> None:
    column = "visible" if name == "blocked" else name
    assert looked(moved(name)) == [("NPU-STATIC-ADDRESS", column)]


def test_strides_alone_are_another_form() -> None:
    def transposed(held: Inputs, number: int) -> Inputs:
        wide = torch.zeros(4, 2, dtype=torch.int64).T  # the same numbers, four apart from each other
        wide[0].copy_(held["token_ids"])
        return {**held, "token_ids": wide[0]} if number == 1 else held

    assert looked(transposed) == [("NPU-STATIC-FORM", "token_ids")]


def test_a_wider_mask_is_another_form() -> None:
    def wider(held: Inputs, number: int) -> Inputs:
        mask = torch.nn.functional.pad(held["blocked"], (0, 1), value=True)
        return {**held, "blocked": mask} if number == 2 else held

    assert looked(wider) == [("NPU-STATIC-FORM", "visible")]


@pytest.mark.parametrize("name", ["token_ids", "position_ids", "slots", "blocked"])
def test_contents_of_the_launch_before_are_stale(name: str) -> None:
    kept: dict[str, torch.Tensor] = {}

    def stale(held: Inputs, number: int) -> Inputs:
        if number:
            held[name].copy_(kept[name])
        kept[name] = held[name].clone()
        return held

    assert looked(stale) == [("NPU-STATIC-CONTENTS", "visible" if name == "blocked" else name)]


def test_a_mask_that_is_wrong_and_fresh_is_left_to_those_who_judge_masks() -> None:
    def leaking(held: Inputs, _: int) -> Inputs:
        held["blocked"][0, 0, 1, -1] = False
        return held

    assert looked(leaking) == []


@pytest.mark.parametrize("name", ["token_ids", "blocked"])
def test_an_operator_that_gets_something_else_is_seen(name: str) -> None:
    column = "visible" if name == "blocked" else name
    found = looked(lambda held, _: held, lambda held: given(held, **{name: held[name].clone()}))
    assert found == [("NPU-STATIC-OPERATOR", column)]


def test_slots_of_other_rows_may_be_written_in_the_same_stage() -> None:
    """A port that copies committed rows into a branch calls the same operator with slots of those rows."""

    def launches(held: Inputs) -> list[LaunchArgument]:
        other = torch.arange(4, dtype=torch.int32)
        return [*given(held, slots=other)[2:3], *given(held)]

    assert looked(lambda held, _: held, launches) == []


def test_the_compressed_template_is_no_input_of_a_step() -> None:
    template = torch.ones(2048, 2048, dtype=torch.bool)
    assert looked(lambda held, _: held, lambda held: [*given(held), *given(held, blocked=template)[:1]]) == []


def test_a_mask_in_another_form_of_the_device_is_not_judged_by_contents() -> None:
    """Additive masks, one value a row, or fewer rows: nobody knows here what they should hold."""

    def additive(held: Inputs, _: int) -> Inputs:
        return {**held, "blocked": ADDITIVE}

    assert looked(additive, lambda held: []) == []


ADDITIVE = torch.zeros(1, 1, 4, 40)
