"""Measures the choices of a policy: every one decodes the same texts, and its steps are timed and counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, NullWatch
from workbench.judge.turn_state import TurnState
from workbench.lockstep.choice.costs import StepCosts, quiet
from workbench.lockstep.choice.decoders import Decoder, Stopwatch, collector_paused, loaded_set_aside
from workbench.lockstep.choice.measured import ChoiceCosts, Measurements, StepCounts
from workbench.lockstep.engine.step import NullObserver, begin_turn, steps_of_turn
from workbench.lockstep.engine.under_test import PathUnderTest

GREEDY_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class Contender:
    """One choice of a policy, ready to decode.

    Attributes:
        name: Of the choice.
        teacher: Name of its teacher; contenders of one teacher share what a row costs it.
        proposer: Kind of its drafter.
        path: Decodes with it.
        settings: Of the path.
        eos_token_ids, max_positions: Of the teacher.
    """

    name: str
    teacher: str
    proposer: str
    path: DecodePath
    settings: DecodeSettings
    eos_token_ids: frozenset[int] = frozenset()
    max_positions: int = 1 << 30


@dataclass(slots=True)
class _Times:
    """What the trials of one contender took; drafts by their number of levels."""

    drafts: dict[int, list[float]] = field(default_factory=dict)
    first_drafts: list[tuple[int, float]] = field(default_factory=list)
    prefills: list[tuple[int, float]] = field(default_factory=list)


def measure(
    contenders: Sequence[Contender],
    greedy: Mapping[str, Decoder],
    prompts: Sequence[Sequence[int]],
    rule_of: Callable[[Sequence[int]], str],
    stopwatch: Stopwatch,
    *,
    num_tokens: int,
    rounds: int = 1,
) -> Measurements:
    """Let every contender decode every prompt, in turns, so that a slow moment hits all alike.

    Args:
        contenders: With all six stages.
        greedy: Teacher-only decoding, by name of a teacher.
        prompts: Texts; what is accepted counts for the rule that holds for the text.
        rule_of: Name of that rule.
        stopwatch: Waits for the device.
        num_tokens: Of each text.
        rounds: How often; of repeated times a low quantile is taken, and steps count once.
    """
    measured = Measurements({})
    rest: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    token: dict[str, list[float]] = defaultdict(list)
    times = {each.name: _Times() for each in contenders}
    tries = [(turn, number) for turn in range(rounds) for number in range(len(prompts))]
    with loaded_set_aside():
        for turn, number in tries:
            prompt = prompts[number]
            for teacher, decode in greedy.items():
                token[teacher] += filter(None, [decode(prompt, GREEDY_TOKENS).seconds_per_token])
            for contender in _rotated(contenders, turn + number):
                counts = _decode(
                    contender,
                    prompt,
                    num_tokens,
                    times[contender.name],
                    rest[contender.teacher],
                    stopwatch=stopwatch,
                )
                if not turn:
                    measured.take(contender.name, rule_of(prompt), counts)
    measured.costs = {
        each.name: _costs(times[each.name], rest[each.teacher], token.get(each.teacher, []))
        for each in contenders
    }
    return measured


def _rotated(contenders: Sequence[Contender], by: int) -> list[Contender]:
    start = by % len(contenders)
    return [*contenders[start:], *contenders[:start]]


def _decode(
    contender: Contender,
    prompt: Sequence[int],
    num_tokens: int,
    times: _Times,
    rest: dict[int, list[float]],
    *,
    stopwatch: Stopwatch,
) -> StepCounts:
    """Decode one text; return its steps without the last, which is cut."""
    turn_state, drafted = TurnState(0, 0, num_tokens), _Drafted(stopwatch)
    counts, last = StepCounts(), StepCounts()
    with collector_paused():
        start = stopwatch.read()
        running = PathUnderTest.begin(contender.path, NullWatch())
        begin_turn(running, turn_state, prompt, contender.eos_token_ids)
        now = stopwatch.read()
        times.prefills.append((len(prompt), now - start))
        for number, step in enumerate(steps_of_turn(running, turn_state, drafted)):
            drafting, start, now = drafted.time - now, drafted.time, stopwatch.read()
            rest[len(step.tensorized.token_ids)].append(now - start)
            if number:
                times.drafts.setdefault(len(step.drafted.levels or ()), []).append(drafting)
            else:
                times.first_drafts.append((len(prompt), drafting))
            counts = counts.plus(last)
            last = StepCounts(1, len(step.accepted.accepted_nodes), int(len(step.drafted.token_ids) == 1))
    return counts


def _mean_draft(drafts: Mapping[int, Sequence[float]]) -> float:
    """Return what a draft takes on average; those of as many levels are alike, but for disturbance."""
    total = sum(len(times) * quiet(times) for times in drafts.values())
    return total / sum(len(times) for times in drafts.values())


def _costs(times: _Times, rest: Mapping[int, Sequence[float]], token: Sequence[float]) -> ChoiceCosts:
    verify = {rows: quiet(each) for rows, each in sorted(rest.items())}
    first = [seconds for _, seconds in times.first_drafts]
    draft = _mean_draft(times.drafts) if times.drafts else quiet(first or [0.0])
    begins = [seconds / length for length, seconds in times.prefills]
    feeds = [max(seconds - draft, 0.0) / length for length, seconds in times.first_drafts]
    greedy = quiet(token) if token else min(verify.values(), default=1e-9)
    steps = StepCosts(token=greedy, verify=verify or {1: greedy}, draft={0: (draft, 0.0)})
    return ChoiceCosts(steps, quiet(begins or [0.0]) + quiet(feeds or [0.0]))


class _Drafted(NullObserver):
    """Reads the stopwatch when a step has drafted."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self.time = 0.0

    def after_stage(self, stage: str, result: Any) -> None:  # noqa: ARG002 the protocol
        if stage == "draft":
            self.time = self._stopwatch.read()
