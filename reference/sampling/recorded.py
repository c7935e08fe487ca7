"""Is a recorded outcome what the draws give, or next to it? From the logits and the draws alone.

The rule is followed under the exact law. Where its outcome is another than the recorded one, decisions whose
draw lies within rounding of a border may go either way: the border moves by what the same decision's border
moves under laws of other rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reference.sampling.questions import LawTree, Question, Rule, RuleOutcome, answered
from reference.sampling.warp import Law, law_of
from tracing.settings import DecodeSettings

FACTOR: Final = 4.0
"""A sound path may round as much as the samples, in another direction, and as much again twice over."""
FLOOR: Final = 8 * 2.0**-24
"""Rounding of sums of float32 probabilities where the samples happen to agree."""
MAX_OUTCOMES: Final = 32
"""Outcomes that are tried before a recorded one is called wrong."""

Draw = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Tie:
    """A decision that rounding explains.

    Attributes:
        node: Where.
        answer, expected: What was recorded, and what the exact law and the draw give; 0 is yes of yes and no.
        gap: How far the draw is outside the answer's share.
        allowance: How far rounding moves its borders.
        what: `final` for a token, else an acceptance.
    """

    node: int
    answer: int
    expected: int
    gap: float
    allowance: float
    what: str


@dataclass(frozen=True, slots=True)
class Followed:
    """An outcome with the number of draws that it takes, and the near ties on the way."""

    outcome: RuleOutcome
    num_draws: int
    ties: tuple[Tie, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question under the exact law and under the samples, with its draw."""

    exact: Question
    samples: tuple[Question, ...]
    draw: float

    def tie(self, answer: int) -> Tie | None:
        """Return an answer as a near tie; None where rounding does not explain it."""
        if not any(question.law[answer] > 0 for question in (self.exact, *self.samples)):
            return None
        exact = self.exact.share(answer)
        moved = [
            abs(one - other)
            for each in self.samples
            for one, other in zip(each.share(answer), exact, strict=True)
        ]
        allowance = FACTOR * max(moved, default=0.0) + FLOOR
        gap = self.exact.outside(answer, self.draw)
        expected = self.exact.by(self.draw)
        tie = Tie(self.exact.node, answer, expected, gap, allowance, self.exact.what)
        return tie if gap <= allowance else None

    def others(self, wanted: Collection[int]) -> list[Tie]:
        """Return the answers besides the exact one that rounding allows, nearest first.

        Of tokens, those that a sample gives and the wanted ones are looked at.
        """
        expected, law = self.exact.by(self.draw), self.exact.law
        near = {question.by(self.draw) for question in self.samples}
        is_token = self.exact.what == "final"
        near |= (
            {token_id for token_id in wanted if 0 <= token_id < len(law)}
            if is_token
            else set(range(len(law)))
        )
        ties = [self.tie(answer) for answer in near if answer != expected]
        return sorted((tie for tie in ties if tie is not None), key=lambda tie: tie.gap)


def outcomes(
    rule: Rule, exact: LawTree, samples: Sequence[LawTree], draw: Draw, wanted: Collection[int] = ()
) -> Iterator[Followed]:
    """Yield the outcome of the draws, then those that near ties lead to, fewest near ties first.

    Args:
        rule: Of acceptance.
        exact: The tree with its exact laws.
        samples: The same tree under laws of other rounding.
        draw: Number to uniform.
        wanted: Tokens that were emitted.
    """
    waiting: list[tuple[list[int], tuple[Tie, ...]]] = [([], ())]
    for _ in range(MAX_OUTCOMES):
        if not waiting:
            return
        forced, ties = waiting.pop(0)
        asked, followed = _follow(rule, exact, samples, draw, forced)
        yield replace(followed, ties=ties)
        answers = [*forced, *(one.exact.by(one.draw) for one in asked[len(forced) :])]
        for place in range(len(forced), len(asked)):
            waiting += [([*answers[:place], tie.answer], (*ties, tie)) for tie in asked[place].others(wanted)]
        waiting.sort(key=lambda each: len(each[1]))


def _follow(
    rule: Rule, exact: LawTree, samples: Sequence[LawTree], draw: Draw, forced: Sequence[int]
) -> tuple[list[_Asked], Followed]:
    """Run a rule under all laws with the same answers: the forced ones, then those of the draws."""
    asked: list[_Asked] = []
    others = [rule(each) for each in samples]
    pending = [next(each) for each in others]
    num_draws = 0

    def answer(question: Question) -> int:
        nonlocal num_draws, pending
        uniform = 0.0
        if question.is_drawn:
            uniform, num_draws = draw(num_draws), num_draws + 1
        place = len(asked)
        asked.append(_Asked(question, tuple(pending), uniform))
        chosen = forced[place] if place < len(forced) else question.by(uniform)
        pending = [_sent(each, chosen, last) for each, last in zip(others, pending, strict=True)]
        return chosen

    outcome = answered(rule(exact), answer)
    return asked, Followed(outcome, num_draws)


def _sent(asking: Any, answer: int, last: Question) -> Question:
    try:
        question: Question = asking.send(answer)
    except StopIteration:
        return last
    return question


Warp = Callable[[NDArray[Any]], Law]


def roundings(settings: DecodeSettings) -> tuple[Warp, ...]:
    """Return other ways to compute the law of a row: in float32, and with the borders of top-p moved."""

    def single(row: NDArray[Any]) -> Law:
        return law_of(row.astype(np.float32), settings)

    def by_logarithms(row: NDArray[Any]) -> Law:
        small = row.astype(np.float32)
        finite = np.where(np.isfinite(small), small, np.float32(-1e30))
        shifted = finite - finite.max()
        normalised = shifted - np.log(np.exp(shifted).sum(dtype=np.float32))
        return law_of(normalised, settings)

    ways: list[Warp] = [single, by_logarithms]
    if settings.top_p < 1:
        edges = (settings.top_p * (1 - 2.0**-18), min(settings.top_p * (1 + 2.0**-18), 1.0))
        ways += [partial(law_of, settings=replace(settings, top_p=edge)) for edge in edges]
        ways.append(partial(law_of, settings=settings, reverse_equals=True))
    return tuple(ways)
