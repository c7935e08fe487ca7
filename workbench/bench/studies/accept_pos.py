"""Acceptance by position in the drafted path."""

from __future__ import annotations

from workbench.bench.stats import ratio
from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Plot, Series, Study, Table


def accept_positions(num_accepted: list[int]) -> list[tuple[int, int, float, float]]:
    """Return, for each position k = 1, 2, ...: k, steps that reached it, cumulative, conditional.

    Cumulative is the share of all steps that accepted at least k draft tokens; conditional is the share of
    those that accepted at least k - 1. The mean of `num_accepted` is the sum of the cumulative shares.
    """
    rows = []
    for k in range(1, max(num_accepted, default=0) + 1):
        reached = sum(accepted >= k - 1 for accepted in num_accepted)
        taken = sum(accepted >= k for accepted in num_accepted)
        rows.append((k, reached, ratio(taken, len(num_accepted)), ratio(taken, reached)))
    return rows


def measure(lab: Lab) -> Study:
    """Read the curve off the main measurement."""
    first = [result for result in lab.results if result.repetition == 0 and result.counts]
    rows = accept_positions([accepted for result in first for accepted in result.speculative.uncut])
    x = tuple(row[0] for row in rows)
    return Study(
        name="accept-pos",
        title="Acceptance by position",
        text=(
            "accept_pos, cumulative: share of all steps that accept at least k draft tokens.",
            "accept_pos, conditional: share of the steps with k - 1 accepted that accept the k-th as well.",
            "The last step of a turn, cut at EOS or at the token limit, is left out.",
        ),
        tables=(
            Table(
                "Acceptance by position", ("k", "steps with k-1", "cumulative", "conditional"), tuple(rows)
            ),
        ),
        plots=(
            Plot(
                "line",
                "Acceptance by position",
                "position k",
                "share of steps",
                (
                    Series("cumulative", x, tuple(row[2] for row in rows)),
                    Series("conditional", x, tuple(row[3] for row in rows)),
                ),
            ),
        ),
    )
