"""Imbalance of experts over devices: one of each group against the best of all."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracing.imbalance import imbalance
from tracing.models import Experts
from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Cell, Plot, Series, Study, Table

PUBLISHED: Final = Experts(num_experts=64, num_groups=8, width=1, shared_width=1)
TOKENS: Final = (1, 4, 16, 64, 256)
LAUNCHES: Final = 400
SKEW: Final = 0.5
"""Standard deviation of how much more one expert is liked than another, over that of a token's own logits."""
GROUPED: Final = "one of each group"
BEST: Final = "best of all"


def measure(lab: Lab) -> Study:
    """Draw launches; a teacher with experts of its own has its numbers."""
    return imbalance_study(lab.session.pair.teacher.experts or PUBLISHED)


def imbalance_study(experts: Experts = PUBLISHED) -> Study:
    """Return how uneven launches of drawn tokens are, a group of experts to a device."""
    rows = tuple(row for tokens in TOKENS for row in _rows(experts, tokens))
    names = tuple(str(tokens) for tokens in TOKENS)
    series = tuple(
        Series(choice, names, tuple(row[2] for row in rows if row[1] == choice)) for choice in (GROUPED, BEST)
    )
    columns = (
        "tokens",
        "experts of a token",
        "score, mean",
        "score, p90",
        "above 0",
        "busiest expert / mean",
    )
    note = (
        f"{experts.num_experts} experts in {experts.num_groups} groups, a group to a device; {LAUNCHES} "
        f"launches of each size, logits drawn, experts liked unevenly by {SKEW} of a token's own spread."
    )
    return Study(
        name="experts",
        title="Imbalance of experts",
        text=(
            "The score of a launch: the busiest device less the idlest, over the tokens.",
            "With one expert of each group it is 0 by construction; within a device experts stay uneven.",
            "Drawn logits, not those of a trained router, whose training evens loads out.",
            "It says nothing of the time that a device waits for another.",
        ),
        tables=(Table("Imbalance score", columns, rows, note),),
        plots=(Plot("bar", "Mean imbalance score", "tokens of a launch", "score", series),),
    )


def _rows(experts: Experts, tokens: int) -> list[tuple[Cell, ...]]:
    random = np.random.default_rng(tokens)
    liked = SKEW * random.standard_normal((LAUNCHES, 1, experts.num_experts))
    logits = random.standard_normal((LAUNCHES, tokens, experts.num_experts)) + liked
    by_group = logits.reshape(LAUNCHES, tokens, experts.num_groups, -1)
    grouped = by_group.argmax(-1) + np.arange(experts.num_groups) * experts.group_size
    best = np.argpartition(-logits, experts.num_groups - 1, axis=-1)[..., : experts.num_groups]
    return [_row(experts, tokens, name, ids) for name, ids in ((GROUPED, grouped), (BEST, best))]


def _row(experts: Experts, tokens: int, name: str, ids: np.ndarray) -> tuple[Cell, ...]:
    flat = ids.reshape(LAUNCHES, -1)
    loads = np.stack([np.bincount(each, minlength=experts.num_experts) for each in flat])
    scores = np.array([imbalance(each, experts.num_groups, tokens) for each in loads])
    busiest = loads.max(axis=1) / loads.mean(axis=1)
    return (
        tokens, name, float(scores.mean()), float(np.quantile(scores, 0.9)), float((scores > 0).mean()),
        float(busiest.mean()),
    )  # fmt: skip
