"""Choosers of the reference: a rule's questions answered by draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reference.sampling.questions import LawTree, Question, Rule, RuleOutcome, answered
from reference.sampling.warp import Law, law_of
from tracing.draws import Draws
from tracing.errors import UsageError
from tracing.sampling import Choice, SamplerGiven
from tracing.settings import DecodeSettings
from tracing.stages import FloatArray, Tensorized, Verified

Warp = Callable[[NDArray[Any]], Law]


class RuleChooser:
    """Chooses by a rule; see `tracing.sampling.Chooser`."""

    def __init__(self, rule: Rule, settings: DecodeSettings, draws: Draws) -> None:
        self.rule = rule
        self.settings = settings
        self.draws = draws

    def root(self, logits: Tensor) -> int:
        """Return the root that one draw gives."""
        law = law_of(host(logits), self.settings)
        return Question(law, 0).by(self.draws.take())

    def accept(self, tree: Tensorized, verified: Verified) -> Choice:
        """Return the outcome of the rule, one draw a question."""
        laws = tree_of(tree, host(verified.logits), self.settings)
        taken: list[float] = []

        def answer(question: Question) -> int:
            if question.is_drawn:
                taken.append(self.draws.take())
            return question.by(taken[-1] if question.is_drawn else 0.0)

        outcome = answered(self.rule(laws), answer)
        return choice_of(outcome, taken, tree, laws, self.settings)


def choice_of(
    outcome: RuleOutcome, taken: list[float], tree: Tensorized, laws: LawTree, settings: DecodeSettings
) -> Choice:
    """Return an outcome as a chooser gives it."""
    return Choice(
        path=np.array(outcome.path, dtype=np.int64),
        final_token_id=outcome.final_token_id,
        draws=np.array(taken, dtype=np.float64),
        recovered_token_id=outcome.final_token_id if outcome.is_recovered else None,
        target_probs=_target_probs(tree, laws),
        given=sampler_columns(settings),
    )


def sampler_columns(settings: DecodeSettings) -> SamplerGiven:
    """Return what a sampler was given, by trace column."""
    return {
        "row_temperature": settings.temperature,
        "row_top_k": settings.sampling_top_k,
        "row_top_p": settings.top_p,
    }


def tree_of(
    tree: Tensorized, logits: NDArray[Any], settings: DecodeSettings, warp: Warp | None = None
) -> LawTree:
    """Return a tree with the laws that its logits `[N, V]` have.

    Raises:
        UsageError: A rule asks for the law of drafts, and the drafter gives none.
    """
    children: dict[int, list[int]] = {}
    for node in range(1, len(tree.token_ids)):
        if tree.valid[node]:
            children.setdefault(int(tree.parents[node]), []).append(node)
    drafted = None if tree.draft_law is None else host(tree.draft_law)

    def draft(node: int) -> Law:
        if drafted is None:
            raise UsageError(f"{settings.acceptance} needs the law that drafts were drawn from, and got none")
        return np.asarray(drafted[node], dtype=np.float64)

    make = warp or (lambda row: law_of(row, settings))
    return LawTree(
        token_ids=[int(token_id) for token_id in tree.token_ids],
        children=children,
        target=cache(lambda node: make(logits[node])),
        draft=cache(draft),
        rows=cache(lambda node: np.asarray(logits[node], dtype=np.float64)),
    )


def _target_probs(tree: Tensorized, laws: LawTree) -> FloatArray:
    probs = np.zeros(len(tree.token_ids), dtype=np.float32)
    probs[0] = 1.0
    for node in range(1, len(probs)):
        if tree.valid[node]:
            probs[node] = laws.target(int(tree.parents[node]))[laws.token_ids[node]]
    return probs


def host(tensor: Any) -> NDArray[Any]:
    """Return floats on the host in float64, to which each of them widens without a change."""
    array: NDArray[Any] = tensor.detach().double().cpu().numpy()
    return array
