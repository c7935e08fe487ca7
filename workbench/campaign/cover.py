"""Which combinations of values a plan holds: all, or so many that every pair of values occurs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

Row = dict[str, str]
COVERS: Final = ("pairwise", "full")


def rows_of(axes: Mapping[str, Sequence[str]], cover: str) -> list[Row]:
    """Return combinations, one value of each axis in each; one empty row without axes."""
    return list(_full(axes)) if cover == "full" else _pairwise(axes)


def _full(axes: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _pairwise(axes: Mapping[str, Sequence[str]]) -> list[Row]:
    """Return rows that hold every pair of values of two axes, built one row after the other.

    Each row starts with a pair that is still missing; every other axis takes the value that adds most.
    """
    missing = dict.fromkeys(
        frozenset({(one, a), (other, b)})
        for one, other in itertools.combinations(axes, 2)
        for a in axes[one]
        for b in axes[other]
    )
    if not missing:  # no axis, or one
        return list(_full(axes))
    rows: list[Row] = []
    while missing:
        row: Row = dict(sorted(next(iter(missing))))
        for axis in axes:
            if axis not in row:
                row[axis] = max(axes[axis], key=lambda value: _gain(row, axis, value, missing))
        for pair in itertools.combinations(row.items(), 2):
            missing.pop(frozenset(pair), None)
        rows.append({axis: row[axis] for axis in axes})
    return rows


def _gain(row: Row, axis: str, value: str, missing: Mapping[frozenset[tuple[str, str]], None]) -> int:
    return sum(frozenset({(axis, value), other}) in missing for other in row.items())
