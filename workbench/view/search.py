"""Finding things in a long run: a token text, a node, a position, a slot, a rule; a batch of rows at a time.

A query is `word` (token text), `node 7`, `pos 120`, `slot 4096`, `id 31` (token id), or a rule id such as
`MASK001`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracing.errors import UsageError
from workbench.view.flat import flat_lists
from workbench.view.run_view import RunView
from workbench.view.targets import FindingTarget, NodeTarget, PositionTarget, SlotTarget, Target

CHUNK: Final = 256
_NUMBERED: Final = re.compile(r"(node|pos|position|slot|id)\s+(-?\d+)\Z")
_COLUMNS: Final = {
    "pos": "cache_positions",
    "position": "cache_positions",
    "slot": "slots",
    "id": "token_ids",
}


@dataclass(frozen=True, slots=True)
class Hit:
    """Where something was found.

    Attributes:
        target: What to select there.
        panel: Panel that shows it.
    """

    row: int
    target: Target
    panel: str


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for.

    Attributes:
        text: As typed.
        column: Column to look in, empty for rules and nodes.
        wanted: Values of that column that count.
        rule: Rule id, upper case, for a search among findings.
        node: Node number, for a search of a node.
    """

    text: str
    column: str = ""
    wanted: frozenset[int] = frozenset()
    rule: str = ""
    node: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search starts.

    Attributes:
        row: Row of the time line.
        node: Node selected there, None for none.
    """

    row: int
    node: int | None = None


def parse_query(text: str, view: RunView) -> Query:
    """Read what a person typed.

    Raises:
        UsageError: Nothing in this run can match it.
    """
    text = text.strip()
    if not text:
        raise UsageError("find what? a token text, node N, pos N, slot N, id N, or a rule id")
    numbered = _NUMBERED.match(text.lower())
    if numbered:
        kind, number = numbered.group(1), int(numbered.group(2))
        if kind == "node":
            return Query(text, node=number)
        return Query(text, _COLUMNS[kind], frozenset({number}))
    rule = text.upper()
    if any(finding.rule.upper() == rule for finding in view.findings):
        return Query(text, rule=rule)
    wanted = view.tokens().ids_with(text)
    if not wanted:
        raise UsageError(f"no token of this run holds {text!r}, and no finding has that rule")
    return Query(text, "token_ids", wanted)


def find(
    view: RunView, query: Query, place: Place, direction: int, go_on: Callable[[int], bool] = lambda _: True
) -> Hit | None:
    """Return the next hit after (or before) a place, None where there is none up to the end.

    Args:
        view: The run.
        query: From `parse_query`.
        place: Where to start from; hits at the place itself do not count.
        direction: 1 forward, -1 back.
        go_on: Asked with the row before each chunk; False gives up.
    """
    if query.rule:
        return _find_rule(view, query, place.row, direction)
    for start, stop in _chunks(place.row, view.num_finished, direction):
        if not go_on(start):
            return None
        hits = [hit for hit in _hits(view, query, start, stop) if _is_beyond(hit, place, direction)]
        if hits:
            return _as_hit(query, *(min(hits) if direction > 0 else max(hits)))
    return None


def _find_rule(view: RunView, query: Query, row: int, direction: int) -> Hit | None:
    rows = (
        (view.row_of(finding.moment), number)
        for number, finding in enumerate(view.findings)
        if finding.rule.upper() == query.rule
    )
    ahead = [each for each in rows if (each[0] - row) * direction > 0]
    if not ahead:
        return None
    at, number = min(ahead, key=lambda each: each[0] * direction)
    return Hit(at, FindingTarget(view.findings[number].moment, number), "findings")


def _chunks(row: int, num_rows: int, direction: int) -> Iterator[tuple[int, int]]:
    """Yield stretches of rows from `row` on, nearest first, the row itself included."""
    if direction > 0:
        for start in range(max(0, row), num_rows, CHUNK):
            yield start, min(start + CHUNK, num_rows)
    else:
        for stop in range(min(row + 1, num_rows), 0, -CHUNK):
            yield max(0, stop - CHUNK), stop


def _is_beyond(hit: tuple[int, int, int], place: Place, direction: int) -> bool:
    row, node, _ = hit
    if row != place.row or place.node is None:
        return (row - place.row) * direction > 0
    return (node - place.node) * direction > 0


def _as_hit(query: Query, row: int, node: int, value: int) -> Hit:
    if query.column == "slots":
        return Hit(row, SlotTarget(value), "cache")
    if query.column == "cache_positions":
        return Hit(row, PositionTarget(value), "cache")
    return Hit(row, NodeTarget(node), "tree")


def _hits(view: RunView, query: Query, start: int, stop: int) -> list[tuple[int, int, int]]:
    """Return row, node and value of every hit in a stretch; padding rows are no hits."""
    name = query.column or "token_ids"
    table = view.batches(["valid", name], start, stop)
    rows, nodes, values = flat_lists(table.column(name))
    keep = nodes == query.node if query.node is not None else np.isin(values, sorted(query.wanted))
    if not keep.any():
        return []
    pad_rows, pad_nodes, valid = flat_lists(table.column("valid"))
    pads = set(zip(pad_rows[valid == 0].tolist(), pad_nodes[valid == 0].tolist(), strict=True))
    found = zip(rows[keep].tolist(), nodes[keep].tolist(), values[keep].tolist(), strict=True)
    return [(start + row, node, value) for row, node, value in found if (row, node) not in pads]
