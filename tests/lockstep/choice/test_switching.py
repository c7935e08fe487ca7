"""Lossless across switches: whoever decodes which part of a text, it is the chosen teachers' own text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.model import ReferenceModels
from tests.greedy import greedy_decode
from tests.lockstep.choice.contenders import contenders, other_teacher, pair_of
from tracing.stages import NullWatch
from workbench.bench.ledger import ledger_study
from workbench.judge.turn_state import TurnState
from workbench.lockstep.choice.costs import StepCosts
from workbench.lockstep.choice.decoders import Stopwatch, speculative_decoder
from workbench.lockstep.choice.facts import Probes
from workbench.lockstep.choice.measured import ChoiceCosts, Measurements
from workbench.lockstep.choice.orchestrator import Orchestrator, Routed, orchestrated_decoder
from workbench.lockstep.choice.policy import Policy, PolicyChoice, PolicyRule
from workbench.lockstep.choice.trials import measure
from workbench.lockstep.engine.step import begin_turn, steps_of_turn
from workbench.lockstep.engine.under_test import PathUnderTest

PROMPT = (1, 2, 3, 4, 5)
NAMES = ("tree", "chain", "heads", "lookup", "model", "small")


@cache
def teacher(name: str) -> ReferenceModels:
    return ReferenceModels(other_teacher() if name == "small" else pair_of("lookup"))


def decoded_by(name: str, prompt: Sequence[int], length: int) -> list[int]:
    """One request, decoded by a contender."""
    state = TurnState(0, 0, length)
    running = PathUnderTest.begin(contenders()[name].path, NullWatch())
    begin_turn(running, state, prompt, frozenset())
    for _ in steps_of_turn(running, state):
        pass
    return state.emitted


@cache
def own_text(name: str, prompt: tuple[int, ...], length: int) -> list[int]:
    return greedy_decode(teacher(contenders()[name].teacher), prompt, length)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 7)), min_size=2, max_size=3),
    st.sampled_from([PROMPT, (7, 7, 7, 7), (40, 2)]),
)
def test_no_switch_loses_or_repeats_a_token(parts: list[tuple[str, int]], prompt: tuple[int, ...]) -> None:
    """Catches a root that is emitted twice or not at all, a cache that is carried over, a foreign teacher."""
    text, expected = list(prompt), list(prompt)
    for name, length in parts:
        text += decoded_by(name, text, length)
        expected += own_text(name, tuple(expected), length)
        assert text == expected


def test_a_path_that_carries_a_token_over_would_be_seen() -> None:
    """The law above fails where a part begins one token late."""
    first = decoded_by("tree", PROMPT, 4)
    late = decoded_by("tree", [*PROMPT, *first[:-1]], 4)
    assert [*first, *late] != own_text("tree", PROMPT, 8)


def test_every_choice_is_measured_on_every_text() -> None:
    now = iter(range(1 << 30))
    clock = Stopwatch(now=lambda: float(next(now)))
    made = measure(
        list(contenders().values()),
        {},
        [PROMPT, (7, 7, 7, 7)],
        lambda prompt: "repeats" if prompt[0] == 7 else "rest",
        clock,
        num_tokens=8,
        rounds=2,
    )
    assert list(made.costs) == list(contenders())
    assert all(set(counts) == {"repeats", "rest"} for counts in made.counts.values())
    assert all(1 in costs.steps.verify for costs in made.costs.values())  # a lookup that found nothing
    assert set(made.costs["small"].steps.verify) <= {1, 6}  # rows of the other teacher are not shared
    assert {4, 6, 9} <= set(made.costs["tree"].steps.verify)
    found = made.counts["lookup"]["repeats"]
    assert 0 <= found.alone <= found.steps
    assert found.accepted <= 5 * (found.steps - found.alone)


@pytest.mark.parametrize("name", ["tree", "lookup"])
def test_steps_are_counted_once_and_the_last_one_is_left_out(name: str) -> None:
    contender = contenders()[name]
    decoded = speculative_decoder(contender.path, frozenset(), Stopwatch())(PROMPT, 8)
    made = measure([contender], {}, [PROMPT], lambda _: "rest", Stopwatch(), num_tokens=8, rounds=3)
    counts = made.counts[name]["rest"]
    assert counts.steps == len(decoded.uncut)
    assert counts.accepted == sum(decoded.uncut)


def test_an_orchestrated_decoder_gives_the_teachers_text_and_pays_for_choosing() -> None:
    """Two kinds of requests, one rule each: each is decoded by its choice, and what it accepts is learned."""
    now = iter(range(1 << 30))
    clock = Stopwatch(now=lambda: float(next(now)))
    names = ("lookup", "tree")
    policy = Policy(
        {name: PolicyChoice(name, contenders()[name].proposer) for name in names},
        (
            PolicyRule("repeats", {"overlap": (0.2, None)}, among=("lookup",)),
            PolicyRule("rest", among=("tree",)),
        ),
    )
    costs = ChoiceCosts(StepCosts(1.0, {1: 1.0}, {0: (1.0, 0.0)}), 0.0)
    orchestrator = Orchestrator(
        policy=policy,
        measured=Measurements(dict.fromkeys(names, costs)),
        contenders={name: contenders()[name] for name in names},
        probes=Probes(),
        left_out={},
        stopwatch=clock,
    )
    routed: list[Routed] = []
    decode = orchestrated_decoder(orchestrator, routed.append)
    for prompt in (PROMPT, (7, 7, 7, 7, 7)):
        assert list(decode(prompt, 6).token_ids) == own_text("tree", prompt, 6)
    assert [each.decision.choice for each in routed] == ["tree", "lookup"]
    assert set(orchestrator.measured.counts) == set(names)
    for each in routed:
        parts = each.overhead.as_json().values()
        assert all(part > 0 for part in parts)
        assert 1e-3 * sum(parts) < each.seconds  # choosing is part of the request
    study = ledger_study(
        [each.as_json() for each in routed], {name: contenders()[name].proposer for name in names}
    )
    ledger = {row[0]: row for row in study.tables[0].rows}
    assert ledger["prefill"][3:] == (11.8, pytest.approx(100 * 11.8 / 1200))
    assert ledger["all"][3] == pytest.approx(17.4)
    assert sum(float(str(row[3])) for row in study.tables[1].rows) == 2
