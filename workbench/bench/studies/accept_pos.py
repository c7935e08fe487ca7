"""Acceptance by position in the drafted path; for Medusa heads, position k is head k."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.bench.stats import ratio
from workbench.bench.studies.lab import Lab
from workbench.bench.summary import by_proposer
from workbench.bench.tables import Plot, Series, Study, Table
from workbench.bench.turn import TurnResult

Rows = list[tuple[int, int, float, float]]


def accept_positions(num_accepted: list[int]) -> Rows:
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
    """Read the curves off the main measurement."""
    curves = {name: accept_positions(_accepted(part)) for name, part in by_proposer(lab.results).items()}
    plots = [_plot("Acceptance by position", curves, 2), _plot("Acceptance, given the one before", curves, 3)]
    return Study(
        name="accept-pos",
        title="Acceptance by position",
        text=(
            "accept_pos, cumulative: share of all steps that accept at least k draft tokens.",
            "accept_pos, conditional: share of the steps with k - 1 accepted that accept the k-th as well.",
            "The last step of a turn, cut at EOS or at the token limit, is left out.",
        ),
        tables=tuple(
            Table(
                f"Acceptance by position, {name}",
                ("k", "steps with k-1", "cumulative", "conditional"),
                tuple(rows),
            )
            for name, rows in curves.items()
        ),
        plots=tuple(plots),
    )


def _accepted(results: Sequence[TurnResult]) -> list[int]:
    first = [result for result in results if result.repetition == 0 and result.counts]
    return [accepted for result in first for accepted in result.speculative.uncut]


def _plot(title: str, curves: dict[str, Rows], column: int) -> Plot:
    series = (
        Series(name, tuple(row[0] for row in rows), tuple(row[column] for row in rows))
        for name, rows in curves.items()
    )
    return Plot("line", title, "position k", "share of steps", tuple(series))
