"""All providers of costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from costs import (
    campaigning,
    checking,
    comparing,
    decoding,
    demo,
    disk,
    durability,
    large,
    maintenance,
    recording,
    screen,
)
from costs.row import Cost, Row
from costs.workshop import Workshop
from tracing.errors import EnvironmentProblemError, UsageError

COSTS: Final[tuple[Cost, ...]] = (
    *decoding.COSTS,
    *recording.COSTS,
    *demo.COSTS,
    *large.COSTS,
    *disk.COSTS,
    *durability.COSTS,
    *checking.COSTS,
    *comparing.COSTS,
    *maintenance.COSTS,
    *screen.COSTS,
    *campaigning.COSTS,
)
"""In the order of the table."""


def chosen(costs: Sequence[Cost], only: Iterable[str]) -> tuple[tuple[Cost, frozenset[str]], ...]:
    """Return the providers to run, each with the rows that are wanted of it.

    Args:
        costs: All providers.
        only: Names of providers or of rows; all when empty.

    Raises:
        UsageError: A name is neither.
    """
    words = list(only)
    known = {cost.name for cost in costs} | {row for cost in costs for row in cost.rows}
    for word in words:
        if word not in known:
            raise UsageError(f"a cost should be one of {', '.join(sorted(known))}; got {word!r}")
    wanted = (
        (cost, frozenset(row for row in cost.rows if not words or row in words or cost.name in words))
        for cost in costs
    )
    return tuple((cost, rows) for cost, rows in wanted if rows)


def measured(cost: Cost, wanted: frozenset[str], workshop: Workshop) -> Iterator[Row]:
    """Yield the wanted rows of one provider; what this machine cannot measure gives rows that say why."""
    done: set[str] = set()
    try:
        for row in cost.measure(workshop):
            done.add(row.name)
            if row.name in wanted:
                yield row
    except ModuleNotFoundError as problem:
        why = f"{problem.name} is not installed"
    except EnvironmentProblemError as problem:
        why = str(problem)
    else:
        return
    for name in (name for name in cost.rows if name in wanted - done):
        yield Row(name=name, value=None, unit="", goal=cost.rows[name], how=f"not measured: {why}")
