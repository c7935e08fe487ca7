"""What a lookup would have accepted of another choice's text is what it accepts when it decodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.lockstep.choice.contenders import EAGER, contenders, pair_of
from tracing.stages import NullWatch
from workbench.fused.path import make_path
from workbench.judge.turn_state import TurnState
from workbench.lockstep.choice.hindsight import looked_up, lookups_in_hindsight
from workbench.lockstep.choice.measured import StepCounts
from workbench.lockstep.engine.step import begin_turn, steps_of_turn
from workbench.lockstep.engine.under_test import PathUnderTest

PROMPTS = [(1, 2, 3, 4, 5, 1, 2, 3), (7, 7, 7, 7), (40, 2)]


def decoded(
    path: object, prompt: tuple[int, ...], length: int, eos: frozenset[int] = frozenset()
) -> TurnState:
    state = TurnState(0, 0, length)
    running = PathUnderTest.begin(path, NullWatch())  # type: ignore[arg-type]  # a path of a contender
    begin_turn(running, state, prompt, eos)
    for _ in steps_of_turn(running, state):
        pass
    return state


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("shape", [{}, {"tree_nodes": 3}, {"lookup_max": 1}, {"lookup_rule": "vllm"}])
def test_it_counts_the_steps_of_the_real_one(prompt: tuple[int, ...], shape: dict[str, object]) -> None:
    settings = replace(contenders()["lookup"].settings, max_new_tokens=64, **shape)  # type: ignore[arg-type]  # of a table
    pair = pair_of("lookup")
    state = decoded(make_path(pair, settings, eager=EAGER), prompt, 64)
    real = StepCounts(len(state.num_accepted), sum(state.num_accepted), state.num_alone)
    limit = pair.teacher.max_position_embeddings
    assert real.steps
    assert looked_up(prompt, state.emitted, settings, limit, pair.eos_token_ids) == real


def test_only_lookups_of_the_same_teacher_learn() -> None:
    """The other teacher would have written another text, and the chosen lookup has real steps."""
    every = contenders()
    again = {**every, "wide": replace(every["lookup"], name="wide")}
    text = list(PROMPTS[0])
    assert set(lookups_in_hindsight(again, every["tree"], text, text)) == {"lookup", "wide"}
    assert set(lookups_in_hindsight(again, every["lookup"], text, text)) == {"wide"}
    assert set(lookups_in_hindsight(again, every["small"], text, text)) == set()


def test_a_text_that_ends_inside_a_step_counts_the_steps_before() -> None:
    settings = replace(contenders()["lookup"].settings, tree_nodes=6, lookup_max=2)
    prompt, text = [1, 2, 3, 4, 5, 6], [1, 2, 3, 4]
    assert looked_up(prompt, text, settings, 1 << 20, frozenset()) == StepCounts()
    assert looked_up(prompt, [*text, 9, 9], settings, 1 << 20, frozenset()) == StepCounts(1, 3, 0)
    assert looked_up(prompt, [9, 8, 7, 6], settings, 1 << 20, frozenset()) == StepCounts(2, 0, 2)
