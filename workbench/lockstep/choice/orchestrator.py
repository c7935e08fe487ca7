"""Chooses for each request; what that costs is measured, and what the request accepts is learned.

A request is decoded by one choice from its first token to its last. Nothing is switched inside it: the caches
of a drafter that did not draft hold none of its rows, and no rule here catches them up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from tracing.settings import DecodeSettings
from tracing.stages import NullWatch
from workbench.judge.turn_state import TurnState
from workbench.lockstep.choice.decide import Decision, decide
from workbench.lockstep.choice.decoders import Decoded, Decoder, Stopwatch, collector_paused, decode_turn
from workbench.lockstep.choice.facts import Probes
from workbench.lockstep.choice.hindsight import lookups_in_hindsight
from workbench.lockstep.choice.measured import Measurements, StepCounts
from workbench.lockstep.choice.policy import Policy
from workbench.lockstep.choice.trials import Contender
from workbench.lockstep.engine.under_test import PathUnderTest


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a choice costs a request, in milliseconds.

    Attributes:
        template: Making what the probe is given; here with the count of repeated n-grams.
        prefill: The probe's forward.
        routing: The decision.
        switch: Until the chosen path has a fresh state.
    """

    template: float = 0.0
    prefill: float = 0.0
    routing: float = 0.0
    switch: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.template + self.prefill + self.routing + self.switch

    def as_json(self) -> dict[str, float]:
        """Return plain data."""
        return asdict(self)


PUBLISHED: Final = Overhead(template=2.5, prefill=11.8, routing=0.7, switch=2.4)
"""A-IO (arXiv 2604.09752), of a 7B request of `PUBLISHED_REQUEST` milliseconds."""
PUBLISHED_REQUEST: Final = 1200.0


@dataclass(frozen=True, slots=True)
class RequestChoice:
    """One request's choice.

    Attributes:
        contender: Decodes it.
        decision: Why.
        overhead: What choosing cost, the switch not yet among it.
    """

    contender: Contender
    decision: Decision
    overhead: Overhead


@dataclass(slots=True, kw_only=True)
class Orchestrator:
    """Chooses among contenders, request by request.

    Attributes:
        policy: The table.
        measured: What is known of the contenders by now.
        contenders: By name, in the policy's order.
        probes: Look at each prompt.
        left_out: Choices that cannot be taken, and why.
        stopwatch: Times the choice.
    """

    policy: Policy
    measured: Measurements
    contenders: Mapping[str, Contender]
    probes: Probes
    left_out: Mapping[str, str]
    stopwatch: Stopwatch

    @property
    def settings(self) -> dict[str, DecodeSettings]:
        """Settings of each contender."""
        return {name: each.settings for name, each in self.contenders.items()}

    def choose(self, prompt_token_ids: Sequence[int]) -> RequestChoice:
        """Return what decodes a prompt.

        Raises:
            UsageError: The rule that holds leaves no choice.
        """
        read = self.stopwatch.read
        start = read()
        counts = self.probes.count(prompt_token_ids)
        counted = read()
        facts = self.probes.look(prompt_token_ids, counts)
        looked = read()
        decision = decide(self.policy, self.measured, self.settings, facts, self.left_out)
        decided = read()
        overhead = Overhead(1e3 * (counted - start), 1e3 * (looked - counted), 1e3 * (decided - looked))
        return RequestChoice(self.contenders[decision.choice], decision, overhead)

    def took(self, chosen: RequestChoice, turn: TurnState) -> None:
        """Learn from a request that is decoded: its steps, and what lookups would have made of its text."""
        rule, accepted = chosen.decision.rule, turn.num_accepted
        self.measured.take(
            chosen.decision.choice, rule, StepCounts(len(accepted), sum(accepted), turn.num_alone)
        )
        would = lookups_in_hindsight(self.contenders, chosen.contender, turn.prompt, turn.emitted)
        for name, counts in would.items():
            self.measured.take(name, rule, counts)

    def about(self) -> dict[str, Any]:
        """Return policy, measurements and what is left out, as they are now, as plain data."""
        return {
            "policy": dict(self.policy.source),
            "measured": self.measured.as_json(),
            "left_out": dict(self.left_out),
            "settings": {name: asdict(settings) for name, settings in self.settings.items()},
            "proposers": {name: each.proposer for name, each in self.contenders.items()},
            "teachers": {name: each.teacher for name, each in self.contenders.items()},
        }


@dataclass(frozen=True, slots=True)
class Routed:
    """A request that was chosen for and decoded.

    Attributes:
        decision: What was chosen.
        overhead: What choosing cost.
        seconds: Of the request, choosing included.
        max_new_tokens: That it was allowed.
    """

    decision: Decision
    overhead: Overhead
    seconds: float
    max_new_tokens: int

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **self.decision.as_json(),
            "overhead_ms": self.overhead.as_json(),
            "seconds": self.seconds,
        }


def orchestrated_decoder(
    orchestrator: Orchestrator, note: Callable[[Routed], object] = lambda _: None
) -> Decoder:
    """Return decoding with a choice for each request; choosing is part of the request's time.

    Args:
        orchestrator: Chooses, and learns from what was accepted.
        note: Called after each request.
    """
    stopwatch = orchestrator.stopwatch

    def decode(prompt: Sequence[int], max_new_tokens: int) -> Decoded:
        state = TurnState(0, 0, max_new_tokens)
        with collector_paused():
            start = stopwatch.read()
            chosen = orchestrator.choose(prompt)
            routed = stopwatch.read()
            contender = chosen.contender
            running = PathUnderTest.begin(contender.path, NullWatch())
            switch = 1e3 * (stopwatch.read() - routed)
            decoded = decode_turn(running, state, prompt, contender.eos_token_ids, stopwatch, start=start)
        orchestrator.took(chosen, state)
        overhead = replace(chosen.overhead, switch=switch)
        note(Routed(chosen.decision, overhead, decoded.seconds, max_new_tokens))
        return replace(decoded, choice=chosen.decision.choice)

    return decode
