"""Two decoders measured turn by turn; the one that goes first alternates, so that disturbance cancels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from tracing.errors import UsageError
from workbench.bench.equality import Compare
from workbench.bench.suite import SuitePrompt
from workbench.bench.turn import BenchCase, TurnResult
from workbench.lockstep.choice.decoders import Decoder


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """One turn of a suite.

    Attributes:
        prompt_id, turn: Which turn.
        prompt: The prompt it belongs to.
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
class PairedBench:
    """Two decoders and the comparison of their texts.

    Attributes:
        baseline, speculative: What is measured.
        compare: Compares two texts.
        max_new_tokens: Per turn.
    """

    baseline: Decoder
    speculative: Decoder
    compare: Compare
    max_new_tokens: int

    def warm_up(self, prompts: Sequence[Sequence[int]], max_new_tokens: int = 16) -> None:
        """Let both sides decode contexts untimed: memory, code paths, caches."""
        for prompt in prompts:
            for decoder in (self.baseline, self.speculative):
                decoder(prompt, max_new_tokens)

    def measure(self, case: BenchCase, repetition: int, *, baseline_first: bool) -> TurnResult:
        """Decode one context on both sides."""
        sides = {"baseline": self.baseline, "speculative": self.speculative}
        order = list(sides) if baseline_first else list(reversed(sides))
        decoded = {name: sides[name](case.token_ids, self.max_new_tokens) for name in order}
        baseline, speculative = decoded["baseline"], decoded["speculative"]
        return TurnResult(
            case=case,
            num_prompt_tokens=len(case.token_ids),
            repetition=repetition,
            first=order[0],
            baseline=baseline,
            speculative=speculative,
            match=self.compare(case.token_ids, baseline.token_ids, speculative.token_ids),
        )


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
    bench: PairedBench,
    plans: Sequence[TurnPlan],
    repetitions: int,
    *,
    done: Collection[TurnResult] = (),
) -> Iterator[TurnResult]:
    """Measure every turn that is not done yet, repetition by repetition.

    A later turn's context holds the teacher's own answers to the earlier ones. Which one goes first follows
    from turn and repetition, so a continued run measures what an uninterrupted one would.
    """
    known = {result.key: result for result in done}
    for repetition in range(repetitions):
        before: dict[int, list[int]] = {}
        for number, plan in enumerate(plans):
            context = plan.context(before.get(plan.prompt_id, []))
            result = known.get((plan.prompt_id, plan.turn, repetition))
            if result is None:
                baseline_first = (number + repetition) % 2 == 0
                result = bench.measure(plan.case(context), repetition, baseline_first=baseline_first)
                yield result
            elif result.num_prompt_tokens != len(context):
                raise UsageError(
                    f"{plan.prompt.id} turn {plan.turn} was measured with {result.num_prompt_tokens} tokens "
                    f"of context and now has {len(context)}; give another --out folder"
                )
            before[plan.prompt_id] = [*context, *result.baseline.token_ids]
