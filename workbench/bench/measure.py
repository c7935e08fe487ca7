"""Decoders measured turn by turn; the one that goes first rotates, so that disturbance cancels."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tracing.errors import UsageError
from workbench.bench.equality import Compare
from workbench.bench.suite import SuitePrompt
from workbench.bench.turn import BASELINE, BenchCase, TurnResult
from workbench.lockstep.choice.decoders import Decoded, Decoder


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """One turn of a suite.

    Attributes:
        context: Given everything before it in the prompt as token ids, the context to decode.
    """

    prompt_id: int
    turn: int
    prompt: SuitePrompt
    context: Callable[[Sequence[int]], list[int]]

    def case(self, context: Sequence[int]) -> BenchCase:
        """Return this turn with its context."""
        return BenchCase(self.prompt_id, self.turn, self.prompt.id, self.prompt.kind, tuple(context))


@dataclass(frozen=True, slots=True)
class InterleavedBench:
    """Teacher-only decoding, proposers, and the comparison of their texts with it.

    Attributes:
        baseline: Teacher-only decoding.
        proposers: Speculative decoding, by who drafts.
        max_new_tokens: Per turn.
    """

    baseline: Decoder
    proposers: Mapping[str, Decoder]
    compare: Compare
    max_new_tokens: int

    @property
    def sides(self) -> dict[str, Decoder]:
        """All that decode, by name."""
        return {BASELINE: self.baseline, **self.proposers}

    def warm_up(self, prompts: Sequence[Sequence[int]], max_new_tokens: int = 16) -> None:
        """Let all sides decode contexts untimed: memory, code paths, caches."""
        for prompt in prompts:
            for decoder in self.sides.values():
                decoder(prompt, max_new_tokens)

    def measure(self, case: BenchCase, repetition: int, first: int) -> list[TurnResult]:
        """Decode one context on all sides, beginning with number `first`; a result per proposer."""
        sides = self.sides
        names = list(sides)
        start = first % len(names)
        order = [*names[start:], *names[:start]]
        decoded = {name: _counted(sides[name], case.token_ids, self.max_new_tokens) for name in order}
        baseline = decoded[BASELINE]
        return [
            TurnResult(
                proposer=name,
                case=case,
                num_prompt_tokens=len(case.token_ids),
                repetition=repetition,
                first=order[0],
                baseline=baseline,
                speculative=decoded[name],
                match=self.compare(case.token_ids, baseline.token_ids, decoded[name].token_ids),
            )
            for name in self.proposers
        ]


def _counted(decode: Decoder, prompt: Sequence[int], max_new_tokens: int) -> Decoded:
    """Decode, and count what our own process worked where the decoder does not say."""
    worked = time.process_time()
    decoded = decode(prompt, max_new_tokens)
    if decoded.processor_seconds is not None:
        return decoded
    return replace(decoded, processor_seconds=time.process_time() - worked)


def cases_of(
    plans: Sequence[TurnPlan], answers: Callable[[int, int], Sequence[int] | None]
) -> list[BenchCase]:
    """Return the contexts of all turns whose earlier `answers(prompt_id, turn)` are known, in order."""
    cases: list[BenchCase] = []
    before: dict[int, list[int]] = {}
    for plan in plans:
        so_far = before.get(plan.prompt_id, [])
        if plan.turn and not so_far:
            continue
        context = plan.context(so_far)
        cases.append(plan.case(context))
        answer = answers(plan.prompt_id, plan.turn)
        before[plan.prompt_id] = [] if answer is None else [*context, *answer]
    return cases


def run_turns(
    bench: InterleavedBench, plans: Sequence[TurnPlan], repetitions: int, *, done: Collection[TurnResult] = ()
) -> Iterator[list[TurnResult]]:
    """Measure every turn that is not done yet, repetition by repetition; yields a result per proposer.

    A later turn's context holds the teacher's own answers to the earlier ones. Which one goes first follows
    from turn and repetition, so a continued run measures what an uninterrupted one would.
    """
    known: dict[tuple[int, int, int], list[TurnResult]] = defaultdict(list)
    for result in done:
        known[result.key].append(result)
    for repetition in range(repetitions):
        before: dict[int, list[int]] = {}
        for number, plan in enumerate(plans):
            context = plan.context(before.get(plan.prompt_id, []))
            results = known.get((plan.prompt_id, plan.turn, repetition))
            if results is None:
                results = bench.measure(plan.case(context), repetition, number + repetition)
                yield results
            elif results[0].num_prompt_tokens != len(context):
                raise UsageError(
                    f"{plan.prompt.id} turn {plan.turn} was measured with {results[0].num_prompt_tokens} "
                    f"tokens of context and now has {len(context)}; give another --out folder"
                )
            before[plan.prompt_id] = [*context, *results[0].baseline.token_ids]
