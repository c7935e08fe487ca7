"""One function runs a step: which stage gets what, what an observer sees and fills, where a turn ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invariants.context import RunContext
from invariants.run import Checker
from reference.model import ReferenceModels
from tests.greedy import greedy_decode
from tests.lockstep.runs import SMALL, Outcome, Setup, run
from tests.pairs import tiny_pair
from tracing.errors import UsageError
from tracing.moment import STAGES
from tracing.recorder import RunWriter
from tracing.stages import Accepted, DecodePath, Prefilled, Stages, Tensorized, Verified
from workbench.fused.path import make_path
from workbench.judge.turn_state import TurnState
from workbench.judge.verdict import Tally
from workbench.lockstep.engine.step import NullObserver, begin_turn, run_step, steps_of_turn
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.free.runner import FreeRunner
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.recording.watch import LiveWatch
from workbench.lockstep.session.turns import Turn, with_prompts

LIMIT = 7
NO_EOS: frozenset[int] = frozenset()


def named_path(**stages: Any) -> PathUnderTest:
    """A path whose stages return their name with what they were called with."""

    def made(name: str) -> Callable[..., Any]:
        return lambda state, *given: (name, given)

    return PathUnderTest(
        DecodePath(
            name="named",
            stages=Stages(**{name: made(name) for name in STAGES} | stages),
            begin=lambda _: None,
        ),
        state=None,
    )


class Noting(NullObserver):
    """Notes every call and fills with a word."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.errors: list[Exception | None] = []

    def before_stage(self, stage: str) -> None:
        self.seen.append(("before", stage))

    def after_stage(self, stage: str, result: Any) -> None:
        self.seen.append(("after", stage))

    def fill(self, stage: str, arguments: tuple[Any, ...], error: Exception | None) -> Any:
        self.seen.append(("fill", stage))
        self.errors.append(error)
        return f"filled {stage}"


def test_every_stage_gets_the_objects_that_the_stages_before_it_returned() -> None:
    done = run_step(named_path(), 5)
    assert done.drafted == ("draft", ())
    assert done.tensorized == ("tensorize", (done.drafted,))
    assert done.verified == ("verify", (done.tensorized,))
    assert done.accepted == ("accept", (done.tensorized, done.verified, 5))
    assert done.committed == ("commit", (done.tensorized, done.verified, done.accepted))


def test_an_observer_sees_every_stage_once_before_and_after_it() -> None:
    observer = Noting()
    run_step(named_path(), 5, observer)
    assert observer.seen == [(when, stage) for stage in STAGES[1:] for when in ("before", "after")]


def test_a_missing_and_a_failing_stage_are_filled_and_later_stages_get_the_filling() -> None:
    def fails(state: Any, tree: Any) -> Any:
        raise ValueError("broken")

    observer = Noting()
    done = run_step(named_path(tensorize=None, verify=fails), 5, observer)
    assert (done.tensorized, done.verified) == ("filled tensorize", "filled verify")
    assert done.accepted == ("accept", ("filled tensorize", "filled verify", 5))
    assert observer.errors[0] is None
    assert isinstance(observer.errors[1].__cause__, ValueError)
    assert observer.seen.count(("after", "verify")) == 1


def test_unobserved_errors_pass_and_a_missing_stage_is_named() -> None:
    def fails(state: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_step(named_path(draft=fails), 5)
    with pytest.raises(UsageError, match="no stage verify"):
        run_step(named_path(verify=None), 5)


def one_by_one(*, stops: bool) -> PathUnderTest:
    """A path that emits a token a step, and says at the limit that the turn ends, or never does."""

    def accept(state: Any, tree: Tensorized, verified: Verified, remaining: int) -> Accepted:
        return Accepted(
            accepted_nodes=np.zeros(0, np.int64),
            final_token_id=9,
            emitted_token_ids=np.array([9]),
            path_indices=np.array([0]),
            stop_reason="length" if stops and remaining == 1 else None,
        )

    def prefill(state: Any, prompt: Any) -> Prefilled:
        return Prefilled(context_token_ids=np.array([*prompt, 9]), logits=None, features=None)

    def tensorize(state: Any, drafted: Any) -> Any:
        return type("Tree", (), {"token_ids": np.array([9]), "valid": np.array([True])})

    return named_path(prefill=prefill, tensorize=tensorize, accept=accept)


@pytest.mark.parametrize("stops", [True, False])
def test_a_turn_ends_at_its_bound_whether_or_not_the_path_says_so(stops: bool) -> None:
    """Catches one token too many, and a turn that never ends."""
    path, turn_state = one_by_one(stops=stops), TurnState(0, 0, LIMIT)
    begin_turn(path, turn_state, [1, 2], NO_EOS)
    steps = list(islice(steps_of_turn(path, turn_state), 3 * LIMIT))
    assert turn_state.emitted == [9] * LIMIT
    assert len(steps) == LIMIT - 1
    assert turn_state.committed == [1, 2, *[9] * (LIMIT - 1)]


@pytest.mark.parametrize(("limit", "eos", "reason"), [(1, NO_EOS, "length"), (5, frozenset({9}), "eos")])
def test_a_turn_may_end_with_its_root(limit: int, eos: frozenset[int], reason: str) -> None:
    path, turn_state = one_by_one(stops=False), TurnState(0, 0, limit)
    begin_turn(path, turn_state, [1, 2], eos)
    assert list(islice(steps_of_turn(path, turn_state), 3)) == []
    assert (turn_state.emitted, turn_state.stop_reason) == ([9], reason)


def never_stops(stages: Stages) -> Stages:
    """Accept cuts at the limit, and does not say that it did."""
    accept: Any = stages.accept
    return replace(stages, accept=lambda *given: replace(accept(*given), stop_reason=None))


def test_a_free_run_ends_at_its_bound(tmp_path: Path) -> None:
    pair = tiny_pair(3, head_dim=16)
    path = make_path(pair, SMALL, device="cpu")
    with RunWriter(tmp_path / "run") as writer:
        traces = {"fused": writer.path("fused", lacks=path.lacks)}
        log = RunLog(writer, traces, Checker(RunContext.from_settings(SMALL)), Tally(chain=False))
        watch = LiveWatch(log.journal, log.check_before, refuse=False)
        free = FreeRunner(replace(path, stages=never_stops(path.stages)), SMALL, pair, log, watch)
        free.run([Turn(0, 0, lambda before: [*before, 1, 2, 3, 4, 5])], lambda count: None)
    assert not free.stopped  # no step was tried without room for a token
    assert free.finished[0].emitted == greedy_decode(ReferenceModels(pair), (1, 2, 3, 4, 5), 16)


def test_a_judged_run_that_resyncs_ends_at_its_bound(tmp_path: Path) -> None:
    setup = Setup(options={"on_divergence": "resync"})
    outcome = run(tmp_path / "run", setup, fused=never_stops)
    assert not outcome.staged.stopped
    assert outcome.staged.finished[0].emitted == text_of(setup)


def text_of(setup: Setup) -> list[int]:
    return greedy_decode(ReferenceModels(setup.pair), setup.prompt, setup.settings.max_new_tokens)


def run_with_one_wrong_verify(folder: Path, setup: Setup) -> Outcome:
    """The verify of the first step prefers another token everywhere: the step emits a wrong final token."""

    def faulty(stages: Stages) -> Stages:
        def verify(state: Any, tree: Tensorized) -> Verified:
            made = stages.verify(state, tree)
            if tree.position_ids[0] != len(setup.prompt):
                return made
            logits = made.logits.roll(1, dims=-1)
            return replace(made, logits=logits, target_token_ids=logits.argmax(-1).numpy())

        return replace(stages, verify=verify)

    return run(folder, setup, fused=faulty)


def test_a_resync_replaces_a_wrong_emitted_root(tmp_path: Path) -> None:
    """Else the text keeps the wrong token, and continues as if the right one had been emitted."""
    setup = Setup(options={"on_divergence": "resync", "on_violation": "launch"})
    outcome = run_with_one_wrong_verify(tmp_path / "run", setup)
    assert outcome.first.moment.stage == "verify"
    assert outcome.staged.finished[0].emitted == text_of(setup)


def test_verify_is_repeated_behind_a_draft(tmp_path: Path) -> None:
    """A path may keep what its draft left for verify: without it the repetition is another computation."""
    calls: list[str] = []

    def faulty(stages: Stages) -> Stages:
        def draft(state: Any) -> Any:
            calls.append("draft")
            return stages.draft(state)

        def verify(state: Any, tree: Tensorized) -> Verified:
            made = stages.verify(state, tree)
            error = 1 if calls[-1:] == ["draft"] else 2
            calls.append("verify")
            return replace(made, logits=made.logits + error)

        return replace(stages, draft=draft, verify=verify)

    outcome = run(tmp_path / "run", fused=faulty)
    assert calls[:4] == ["draft", "verify", "draft", "verify"]
    assert (outcome.first.moment.stage, outcome.first.column) == ("verify", "logits")
    assert outcome.verdict.verdict != "nondeterministic"


def test_a_later_turn_continues_its_own_conversation() -> None:
    """Catches a turn that forgets what was emitted before it, and one that continues another prompt."""
    turns = [
        Turn(prompt, turn, lambda before, text=text: [*before, text])
        for prompt, turn, text in [(0, 0, 1), (0, 1, 2), (1, 0, 3)]
    ]
    prompts = []
    for state, prompt in with_prompts(turns, lambda prompt_id, turn: TurnState(prompt_id, turn, 4)):
        prompts.append((state.prompt_id, state.turn, prompt))
        state.emitted += [10 + state.turn]
    assert prompts == [(0, 0, [1]), (0, 1, [1, 10, 2]), (1, 0, [3])]
