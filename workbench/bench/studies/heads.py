"""Medusa heads one by one: how often each is right, and what each one adds to the accepted length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tracing.settings import DecodeSettings
from tracing.static_tree import WIDTH
from workbench.bench.stats import mean
from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Plot, Series, Study, Table
from workbench.fused.path import path_over
from workbench.lockstep.choice.heads import accepted, accuracies, fan, grow, record_ranks, written
from workbench.lockstep.choice.static import static_settings

PUBLISHED: Final = {1: (0.419, 0.276, 0.210, 0.174, 0.155), WIDTH: (0.649, 0.519, 0.440, 0.386, 0.352)}
"""Shares of a head's best and ten best tokens that are right, in the search statistics of OpenPangu."""
SIZES: Final = (16, 64)


def ranks_of(lab: Lab) -> list[Any]:
    """Return the ranks of the teacher's tokens in each head, for each context of a study."""
    num_heads = lab.session.pair.drafter.num_heads
    settings = static_settings(written(fan(num_heads)), DecodeSettings())
    path = path_over(lab.session.engine(settings, lab.choices.eager))
    found = []
    for case in lab.cases():
        found.append(record_ranks(path, case.token_ids, lab.session.max_new_tokens, num_heads))
        lab.tick()
    return [ranks for ranks in found if len(ranks)]


def measure(lab: Lab) -> Study:
    """Record every head on the study's contexts."""
    texts = ranks_of(lab)
    num_heads = lab.session.pair.drafter.num_heads
    accuracy = accuracies(np.concatenate(texts)) if texts else np.zeros((num_heads, WIDTH))
    rows: list[tuple[float | None, ...]] = []
    for head, row in enumerate(accuracy):
        published = [values[head] if head < len(values) else None for values in PUBLISHED.values()]
        rows.append((head + 1, *(float(row[:top].sum()) for top in (1, 2, 5, WIDTH)), *published))
    lengths = {
        "chain": [mean(accepted(texts, [(0,) * k for k in range(1, h + 1)])) for h in _heads(num_heads)],
        **{
            f"grown, {size} nodes": [
                mean(accepted(texts, grow(accuracy[:h], size - 1))) for h in _heads(num_heads)
            ]
            for size in SIZES
        },
    }
    return Study(
        name="heads",
        title="Medusa heads",
        text=(
            f"{sum(map(len, texts))} tokens of {len(texts)} contexts; trees are grown from these accuracies.",
            "Published: search statistics of OpenPangu's heads over another text.",
        ),
        tables=(
            Table(
                "How often each head is right",
                *(
                    (
                        "head",
                        "its best",
                        "two best",
                        "five best",
                        "ten best",
                        "published best",
                        "published ten",
                    ),
                ),
                tuple(rows),
            ),
            Table(
                "Accepted tokens a step with the first heads alone",
                ("heads", *lengths),
                tuple((h, *(values[h - 1] for values in lengths.values())) for h in _heads(num_heads)),
            ),
        ),
        plots=(
            Plot(
                "line",
                "Accuracy by head",
                "head",
                "share of tokens",
                (
                    _series("best", num_heads, accuracy[:, 0].tolist()),
                    _series("ten best", num_heads, accuracy.sum(1).tolist()),
                ),
            ),
            Plot(
                "line",
                "Accepted tokens over the number of heads",
                "heads",
                "accepted tokens a step",
                tuple(_series(name, num_heads, values) for name, values in lengths.items()),
            ),
        ),
    )


def _heads(num_heads: int) -> range:
    return range(1, num_heads + 1)


def _series(name: str, num_heads: int, values: Sequence[float]) -> Series:
    return Series(name, tuple(_heads(num_heads)), tuple(values))
