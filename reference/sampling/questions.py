"""A rule of acceptance as questions: each has a law of answers, and one uniform, or the best, decides.

A rule is a generator: it yields questions and is sent the answers. What it asks follows from the tree and the
answers alone, never from the laws, so that the same answers can be followed under several laws: to choose by
draws, to see how far a draw is from a recorded answer, or to add up the probability of every outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Law = NDArray[np.float64]
YES, NO = 0, 1


@dataclass(frozen=True, slots=True)
class Question:
    """One decision.

    Attributes:
        law: Probability of each answer, `[answers]`; a value to be maximised where nothing is drawn.
        node: Node whose row the law is made of, or the drafted node in question.
        is_drawn: One uniform decides, by the inverse of the cumulative law; else the largest value does.
        what: For a message.
    """

    law: Law
    node: int
    is_drawn: bool = True
    what: str = ""

    def by(self, draw: float) -> int:
        """Return the answer that a draw gives, or the largest value; the lowest among equals."""
        if not self.is_drawn:
            return int(np.argmax(self.law))
        cumulative = np.cumsum(self.law)
        last = int(np.searchsorted(cumulative, cumulative[-1], side="left"))
        return min(int(np.searchsorted(cumulative, draw, side="right")), last)

    def share(self, answer: int) -> tuple[float, float]:
        """Return from where to where the draws give an answer; for one that is not drawn, its value."""
        if not self.is_drawn:
            return float(self.law[answer]), float(self.law.max())
        return float(self.law[:answer].sum()), float(self.law[: answer + 1].sum())

    def outside(self, answer: int, draw: float) -> float:
        """Return how far a draw is from those that give an answer, or a value from the largest."""
        low, high = self.share(answer)
        return max(low - draw, draw - high, 0.0) if self.is_drawn else high - low


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What a rule ended with.

    Attributes:
        path: Root, then accepted nodes.
        final_token_id: The token after them.
        is_recovered: It was drawn from what a rejection left.
    """

    path: tuple[int, ...]
    final_token_id: int
    is_recovered: bool = False


Asking = Generator[Question, int, RuleOutcome]


@dataclass(frozen=True, slots=True)
class LawTree:
    """A verified tree with its laws.

    Attributes:
        token_ids: Of each node, `[N]`.
        children: Node to its children, ascending.
        target: Node to the teacher's law of its children, `[V]`.
        draft: Node to the law that its children were drawn from, `[V]`; for rules that read it.
        rows: Logits as given, for rules that read them unwarped; node to `[V]`.
    """

    token_ids: Sequence[int]
    children: Mapping[int, Sequence[int]]
    target: Callable[[int], Law]
    draft: Callable[[int], Law]
    rows: Callable[[int], Law]

    def below(self, node: int) -> Sequence[int]:
        """Return the children of a node."""
        return self.children.get(node, ())


Rule = Callable[[LawTree], Asking]


def answered(asking: Asking, answer: Callable[[Question], int]) -> RuleOutcome:
    """Run a rule to its end."""
    try:
        question = next(asking)
        while True:
            question = asking.send(answer(question))
    except StopIteration as ended:
        outcome: RuleOutcome = ended.value
        return outcome


def yes_or_no(probability: Any) -> Law:
    """Return the law of an acceptance: `YES` below the probability, `NO` from there on."""
    accepted = min(max(float(probability), 0.0), 1.0)
    return np.array([accepted, 1.0 - accepted])
