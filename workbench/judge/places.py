"""The one place that says in words where in a value something is, and what is there on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

import numpy as np

from tracing.columns import COLUMN_BY_NAME
from tracing.finding import Finding

WORDS: Final = {
    **dict.fromkeys(("N", "n"), "node"),
    "V": "token",
    "F": "feature",
    "K": "rank",
    "H": "head",
    "G": "group",
    "B": "beam",
    "C": "beam",
    "L": "position",
    "L+1": "position",
    "A": "place",
    "A+1": "place",
    "R": "row",
    "M": "layer",
    "E": "rank",
    "X": "expert",
}
"""Axis letter to what its numbers count; a second axis of nodes counts the keys that a node attends to."""
MAX_LISTED: Final = 12
"""Longest list that is shown whole."""


def place_name(axes: Sequence[str] | None, place: Sequence[int]) -> str:
    """Return e.g. `node 2, key 7` for a place in an array with these axes; empty for a scalar."""
    words: list[str] = []
    for axis, index in zip_longest(axes or (), place):
        if index is None:
            break
        word = WORDS.get(axis or "", "entry")
        words.append(f"{'key' if word == 'node' and f'node {place[0]}' in words else word} {index}")
    return ", ".join(words)


def axes_of(column: str) -> tuple[str, ...]:
    """Return the axes of a trace column; none for a scalar or another name."""
    known = COLUMN_BY_NAME.get(column)
    return () if known is None or known.axes is None else known.axes


def node_at(axes: Sequence[str], place: Sequence[int]) -> int | None:
    """Return the node that a place is about, None where its array has none."""
    return place[axes.index("N")] if "N" in axes and len(place) > axes.index("N") else None


def named(column: str, place: Sequence[int]) -> str:
    """Return e.g. `visible of node 2, key 7`, or the column alone for the whole value."""
    where = place_name(axes_of(column), place)
    return f"{column} of {where}" if where else column


def entry(values: Any, place: Sequence[int] = ()) -> str:
    """Return one entry, or the whole value, as short text; a null entry is `null`."""
    if values is None:
        return "null"
    if isinstance(values, np.ndarray) and len(place) == values.ndim:
        return "null" if np.ma.getmaskarray(values)[tuple(place)] else str(values[tuple(place)])
    items = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(items, list):
        return str(items)
    shown = ", ".join(str(each) for each in items[:MAX_LISTED])
    return f"[{shown}]" if len(items) <= MAX_LISTED else f"{len(items)} values: [{shown}, ..]"


def entry_or_end(items: Sequence[Any], place: int) -> str:
    """Return an entry of a list as text; behind its last one, where it ends."""
    return str(items[place]) if place < len(items) else f"the end (it has {len(items)})"


def both_values(finding: Finding) -> str:
    """Return what was found and what should have been, as far as a finding has it; may be empty.

    On the reference path the value found is the reference's.
    """
    law = "reference" if "reference" in {finding.path, finding.guilty} else "expected"
    sides = (("fused", finding.fused), (law, finding.reference))
    return ", ".join(f"{side} {number(value)}" for side, value in sides if value is not None)


def number(value: float | str) -> str:
    """Return a value of a finding as text."""
    return f"{value:.9g}" if isinstance(value, float) else str(value)
