"""Decoders with times of their own choosing, and turns over them: nothing is slow or needs a clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.bench.equality import first_difference
from workbench.bench.measure import InterleavedBench, TurnPlan
from workbench.bench.suite import SuitePrompt
from workbench.bench.turn import Match, TurnResult
from workbench.lockstep.choice.decoders import Decoded


@dataclass
class MadeDecoder:
    """Emits the last prompt token counted up, at a fixed time per token; remembers who asked when."""

    name: str
    token_seconds: float
    log: list[str] = field(default_factory=list)
    num_accepted: tuple[int, ...] = ()
    slip_at: int | None = None

    def __call__(self, prompt: Sequence[int], max_new_tokens: int) -> Decoded:
        self.log.append(self.name)
        text = [prompt[-1] + 1 + i for i in range(max_new_tokens)]
        if self.slip_at is not None:
            text[self.slip_at] += 1000
        seconds = self.token_seconds * max_new_tokens
        return Decoded(
            token_ids=tuple(text),
            seconds=seconds,
            processor_seconds=2 * seconds,
            first_token_seconds=self.token_seconds,
            num_accepted=self.num_accepted,
        )


def exact(_: Sequence[int], baseline: Sequence[int], other: Sequence[int]) -> Match:
    """Compare without a judge: different is different."""
    position = first_difference(baseline, other)
    return Match("equal") if position is None else Match("different", position, "made to differ")


def made_bench(baseline: float = 0.010, speculative: float = 0.004, **options: Any) -> InterleavedBench:
    log: list[str] = []
    return InterleavedBench(
        MadeDecoder("baseline", baseline, log),
        {"eagle3": MadeDecoder("speculative", speculative, log, **options)},
        exact,
        max_new_tokens=5,
    )


def flat(turns: Iterable[list[TurnResult]]) -> list[TurnResult]:
    """Results of all turns."""
    return [result for turn in turns for result in turn]


def several(**token_seconds: float) -> InterleavedBench:
    """Several proposers that need so many seconds per token, against 0.010."""
    log: list[str] = []
    proposers = {name: MadeDecoder(name, seconds, log) for name, seconds in token_seconds.items()}
    return InterleavedBench(MadeDecoder("baseline", 0.010, log), proposers, exact, max_new_tokens=5)


def plans(*lengths: int, turns: int = 1) -> list[TurnPlan]:
    """Prompts of so many tokens; each further turn adds two tokens to everything before it."""
    made = []
    for number, length in enumerate(lengths):
        prompt = SuitePrompt(f"made-{number}", "code" if turns == 1 else "chat", "made", ("x",) * turns)
        for turn in range(turns):
            added = list(range(length)) if turn == 0 else [7, 8]
            made.append(TurnPlan(number, turn, prompt, lambda before, added=added: [*before, *added]))
    return made
