"""All turns in a few numbers: speed of both sides, speed-up, acceptance, and how steady these are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.bench.stats import Distribution, Spread, distinct_share, interval_of_mean, mean, ratio
from workbench.bench.turn import TurnResult
from workbench.lockstep.choice.decoders import Decoded

REPETITIVE_BELOW = 0.5
"""An output with a smaller share of distinct 4-grams loops, and loops are easy to draft."""


@dataclass(frozen=True, slots=True)
class SideSpeed:
    """Speed of one side over turns, each turn at the median of its repetitions."""

    tokens_per_second: Distribution
    first_token_seconds: Distribution
    seconds_per_token: Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Turns in numbers; turns whose text is not the teacher's count only in `num_refused`.

    Attributes:
        num_turns: Turns that count.
        num_repetitions: Repetitions that were begun.
        num_refused, num_near_ties: Measurements with different text; with proven harmless differences.
        baseline, speculative: Speed.
        speedup: Over turns; each turn is the median of its repetitions.
        ratio_of_means: Mean tokens per second of one side over that of the other (the paper's), over
            repetitions.
        mean_of_ratios: Mean of the turns' own speed-ups, over repetitions.
        over_turns: Interval of 95 % of the mean of the turns' median speed-ups, were other turns taken; None
            for one turn.
        num_accepted: Accepted draft tokens over all steps of the first repetition but the last of each turn.
        steps, new_tokens, prompt_tokens: Per turn.
    """

    num_turns: int
    num_repetitions: int
    num_refused: int
    num_near_ties: int
    baseline: SideSpeed
    speculative: SideSpeed
    speedup: Distribution
    ratio_of_means: Spread
    mean_of_ratios: Spread
    over_turns: tuple[float, float] | None
    num_accepted: Distribution
    steps: Distribution
    new_tokens: Distribution
    prompt_tokens: Distribution


def summarize(results: Sequence[TurnResult]) -> Summary:
    """Return the summary of finished turns."""
    counted = [result for result in results if result.counts]
    turns = by_turn(counted)
    repetitions = by_repetition(counted)
    once = [group[0] for group in turns]
    return Summary(
        num_turns=len(turns),
        num_repetitions=len({result.repetition for result in results}),
        num_refused=sum(not result.counts for result in results),
        num_near_ties=sum(result.match.kind == "near_tie" for result in results),
        baseline=_side(turns, lambda result: result.baseline),
        speculative=_side(turns, lambda result: result.speculative),
        speedup=Distribution.of(turn_speedups(turns)),
        ratio_of_means=Spread.of([_ratio_of_means(group) for group in repetitions]),
        mean_of_ratios=Spread.of([mean(result.speedup for result in group) for group in repetitions]),
        over_turns=interval_of_mean(turn_speedups(turns)),
        num_accepted=Distribution.of(a for result in once for a in result.speculative.uncut),
        steps=Distribution.of(len(result.speculative.num_accepted) for result in once),
        new_tokens=Distribution.of(len(result.baseline.token_ids) for result in once),
        prompt_tokens=Distribution.of(result.num_prompt_tokens for result in once),
    )


def by_proposer(results: Sequence[TurnResult]) -> dict[str, list[TurnResult]]:
    """Return the results of each proposer."""
    groups: dict[str, list[TurnResult]] = defaultdict(list)
    for result in results:
        groups[result.proposer].append(result)
    return dict(groups)


def by_turn(results: Sequence[TurnResult]) -> list[list[TurnResult]]:
    """Return the repetitions of each turn."""
    groups: dict[tuple[int, int], list[TurnResult]] = defaultdict(list)
    for result in results:
        groups[result.case.prompt_id, result.case.turn].append(result)
    return list(groups.values())


def by_repetition(results: Sequence[TurnResult]) -> list[list[TurnResult]]:
    """Return the turns of each repetition."""
    groups: dict[int, list[TurnResult]] = defaultdict(list)
    for result in results:
        groups[result.repetition].append(result)
    return [groups[repetition] for repetition in sorted(groups)]


def turn_speedups(turns: Sequence[Sequence[TurnResult]]) -> list[float]:
    """Return the median speed-up of each turn's repetitions."""
    return [float(np.median([result.speedup for result in group])) for group in turns]


def is_repetitive(result: TurnResult) -> bool:
    """Return whether the output mostly repeats itself."""
    return distinct_share(result.baseline.token_ids) < REPETITIVE_BELOW


def _ratio_of_means(results: Sequence[TurnResult]) -> float:
    return ratio(
        mean(result.speculative.tokens_per_second for result in results),
        mean(result.baseline.tokens_per_second for result in results),
    )


def _side(turns: Sequence[Sequence[TurnResult]], side: Callable[[TurnResult], Decoded]) -> SideSpeed:
    def over(value: Callable[[Decoded], float | None]) -> Distribution:
        known = [[value(side(result)) for result in group] for group in turns]
        numbers = [[each for each in group if each is not None] for group in known]
        return Distribution.of(float(np.median(group)) for group in numbers if group)

    return SideSpeed(
        tokens_per_second=over(lambda decoded: decoded.tokens_per_second),
        first_token_seconds=over(lambda decoded: decoded.first_token_seconds),
        seconds_per_token=over(lambda decoded: decoded.seconds_per_token),
    )
