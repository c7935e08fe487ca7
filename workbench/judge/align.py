"""Two recordings side by side: step columns until they first differ, emitted tokens by absolute position.

Runs need not be cut into batches alike, and memory does not grow with their length: a turn is compared
step by step until its first difference; from there on its steps no longer mean the same, and only the
tokens that the user gets are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from tracing.columns import KEY_COLUMNS
from tracing.finding import Finding
from tracing.moment import Moment
from workbench.judge.align_columns import AlignColumn, default_columns, first_difference, row_of
from workbench.judge.align_cursor import Cursor
from workbench.judge.align_ties import NEEDED as TIES_NEED
from workbench.judge.align_ties import chosen_by_a_tie, same_but_for_ties
from workbench.judge.places import axes_of, entry, named, node_at
from workbench.judge.rules import finding_of

MAX_TURNS_NAMED: Final = 64
"""Differing turns kept one by one; more are counted."""

STREAM_RULE: Final = "JUDGE-ALIGN-STREAM"


@dataclass(frozen=True, slots=True)
class StreamDifference:
    """The first absolute position at which two runs emit different tokens in one turn.

    Attributes:
        prompt_id, turn: Which turn.
        position: Absolute position in the context (the prompt counts).
        left, right: Token ids; None where that run has ended before.
    """

    prompt_id: int
    turn: int
    position: int
    left: int | None
    right: int | None


@dataclass(slots=True)
class Alignment:
    """Result of comparing two recordings.

    Attributes:
        num_steps: Steps compared column by column and found equal.
        num_ties: Turns in which drafts dealt with equal scores in two ways; from that step on only what they
            emit is compared.
        num_turns_differing: Turns with a difference.
        differences: The first difference of each such turn, in order, at most `MAX_TURNS_NAMED`; `fused` and
            `reference` are the left and the right value as text.
        streams: Where their emitted tokens first differ; a turn may differ in steps and not in tokens.
        not_compared: Columns that one of the runs does not have.
    """

    num_steps: int = 0
    num_ties: int = 0
    num_turns_differing: int = 0
    differences: list[Finding] = field(default_factory=list)
    streams: list[StreamDifference] = field(default_factory=list)
    not_compared: set[str] = field(default_factory=set)

    @property
    def same(self) -> bool:
        """Nothing differs and something was compared."""
        return not self.num_turns_differing and self.num_steps > 0

    def findings(self) -> tuple[Finding, ...]:
        """Return the differences as findings; two recordings cannot decide which is right."""
        return (*self.differences, *map(_stream_finding, self.streams))


def align(
    left: Iterable[Any], right: Iterable[Any], columns: Sequence[AlignColumn] | None = None
) -> Alignment:
    """Compare two recorded paths.

    Args:
        left: Record or sealed batches of one run, rows in order of prompt, turn, step.
        right: The same of the other run.
        columns: What to compare; default `default_columns()`.
    """
    compared = default_columns() if columns is None else tuple(columns)
    ours = Cursor(left)
    theirs, result = Cursor(right, ahead=ours), Alignment()
    every = [*KEY_COLUMNS, *(column.name for column in compared)]
    while not ours.done and not theirs.done:
        alike = ours.same_batch(theirs, every)
        if alike:
            result.num_steps += alike
            ours.advance(alike)
            theirs.advance(alike)
            continue
        rows = min(ours.available, theirs.available)
        unlike = (ours.keys(rows) != theirs.keys(rows)).any(axis=1)
        rows = int(np.argmax(unlike)) if unlike.any() else rows
        if rows == 0:
            _missing(ours, theirs, result)
            continue
        found = _first_in(ours, theirs, rows, compared, result)
        if found is not None and _tied(ours, theirs, found[0], compared):
            _take_tied(ours, theirs, found[0], result)
            continue
        difference = None if found is None else _describe(ours, theirs, *found)
        same_rows = rows if found is None else found[0]
        result.num_steps += same_rows
        if same_rows:
            ours.advance(same_rows)
            theirs.advance(same_rows)
        if difference is not None:
            _note(result, difference, ours.drain_turn(), theirs.drain_turn())
    for cursor in (ours, theirs):
        while not cursor.done:
            _one_sided(cursor, result, only_left=cursor is ours)
    return result


def _tied(ours: Cursor, theirs: Cursor, row: int, columns: Sequence[AlignColumn]) -> bool:
    """Whether a row differs only in how draft candidates of equal score were ordered or chosen."""
    names = dict.fromkeys([*(column.name for column in columns), *TIES_NEED])
    sides: list[dict[str, Any]] = []
    for cursor in (ours, theirs):
        stored = {name: cursor.column(name, row + 1) for name in names}
        sides.append({name: row_of(each, row) for name, each in stored.items() if each is not None})
    shared = [name for name in names if all(name in side for side in sides)]
    left, right = ({name: side[name] for name in shared} for side in sides)
    return same_but_for_ties(left, right) or chosen_by_a_tie(left, right)


def _take_tied(ours: Cursor, theirs: Cursor, row: int, result: Alignment) -> None:
    """Step over equal rows; of the turn from the tied one on, only what it emits is compared."""
    result.num_ties += 1
    prompt_id, turn, step = ours.keys(row + 1)[row].tolist()
    result.num_steps += row
    if row:
        ours.advance(row)
        theirs.advance(row)
    left, right = ours.drain_turn(), theirs.drain_turn()
    if left != right:
        moment = Moment(prompt_id, turn, step, "draft")
        finding = _finding("JUDGE-ALIGN-COLUMN", moment, "token_ids", ("one of equal scores", "another one"))
        _note(result, finding, left, right)


def _first_in(
    ours: Cursor, theirs: Cursor, rows: int, columns: Sequence[AlignColumn], result: Alignment
) -> tuple[int, AlignColumn] | None:
    """Return the first differing row of the next rows and the first column that differs in it."""
    found: tuple[int, AlignColumn] | None = None
    for column in columns:
        # A later column matters only where it differs in an earlier row.
        limit = rows if found is None else found[0]
        if limit == 0:
            break
        stored = ours.stored(column.name, limit)
        if stored is not None and stored == theirs.stored(column.name, limit):
            continue
        one, other = ours.column(column.name, limit), theirs.column(column.name, limit)
        if one is None or other is None:
            result.not_compared.add(column.name)
            continue
        row = first_difference(one, other)
        if row is not None:
            found = (row, column)
    return found


def _describe(ours: Cursor, theirs: Cursor, row: int, column: AlignColumn) -> Finding:
    one, other = (row_of(cursor.column(column.name, row + 1), row) for cursor in (ours, theirs))
    axes, index = axes_of(column.name), _first_index(one, other)
    place: tuple[int, ...] = ()
    if index is not None:
        tokens = ours.column("token_ids", row + 1)
        nodes = None if tokens is None else row_of(tokens, row)
        place = _unravelled(index, len(one), axes, None if nodes is None else len(nodes))
    prompt_id, turn, step = ours.keys(row + 1)[row].tolist()
    stage = column.stage if column.stage != "any" else ""
    moment = Moment(prompt_id, turn, step, stage, node_at(axes, place) if stage else None)
    left, right = (entry(value if index is None else value[index]) for value in (one, other))
    return _finding("JUDGE-ALIGN-COLUMN", moment, column.name, (left, right), place)


def _unravelled(index: int, size: int, axes: tuple[str, ...], num_nodes: int | None) -> tuple[int, ...]:
    """Return the place of an entry of a flat column; the entry's number alone where its form is not known."""
    if len(axes) < 2 or not num_nodes or size % num_nodes:
        return (index,)
    shape = [num_nodes if axis == "N" else size // num_nodes for axis in axes]
    return tuple(int(each) for each in np.unravel_index(index, shape)) if np.prod(shape) == size else (index,)


def _first_index(one: Any, other: Any) -> int | None:
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray) or len(one) != len(other):
        return None
    unlike = (one != other) & ~((one != one) & (other != other))  # noqa: PLR0124 - NaN differs from itself
    return int(np.argmax(unlike)) if unlike.any() else None


def _missing(ours: Cursor, theirs: Cursor, result: Alignment) -> None:
    """Handle rows whose keys differ: a turn or the end of a turn that one run does not have."""
    if ours.turn == theirs.turn:
        step, other = int(ours.keys(1)[0, 2]), int(theirs.keys(1)[0, 2])
        moment = Moment(*ours.turn, min(step, other))
        difference = _finding("JUDGE-ALIGN-MISSING", moment, "step", (f"step {step}", f"step {other}"))
        _note(result, difference, ours.drain_turn(), theirs.drain_turn())
    elif ours.turn < theirs.turn:
        _one_sided(ours, result, only_left=True)
    else:
        _one_sided(theirs, result, only_left=False)


def _one_sided(cursor: Cursor, result: Alignment, *, only_left: bool) -> None:
    """Note rows that only one run has, to the end of their turn."""
    moment = Moment(*cursor.keys(1)[0].tolist())
    text, tokens = f"step {moment.step}", cursor.drain_turn()
    texts, streams = ((text, "missing"), (tokens, {})) if only_left else (("missing", text), ({}, tokens))
    _note(result, _finding("JUDGE-ALIGN-MISSING", moment, "step", texts), *streams)


def _note(result: Alignment, difference: Finding, left: dict[int, int], right: dict[int, int]) -> None:
    """Count one differing turn; keep its difference and where its emitted tokens first differ."""
    result.num_turns_differing += 1
    if len(result.differences) >= MAX_TURNS_NAMED:
        return
    result.differences.append(difference)
    for position in sorted(left.keys() | right.keys()):
        one, other = left.get(position), right.get(position)
        if one != other:
            turn = (difference.moment.prompt_id, difference.moment.turn)
            result.streams.append(StreamDifference(*turn, position, one, other))
            return


def _stream_finding(difference: StreamDifference) -> Finding:
    left = "the end" if difference.left is None else f"token {difference.left}"
    right = "the end" if difference.right is None else f"token {difference.right}"
    message = f"emitted tokens differ from position {difference.position} on: {left} against {right}"
    moment = Moment(difference.prompt_id, difference.turn, 0, "accept")
    values = difference.left, difference.right
    return replace(_finding(STREAM_RULE, moment, "emitted_token_ids", values), message=message)


def _finding(
    rule: str,
    moment: Moment,
    column: str,
    values: tuple[int | str | None, int | str | None],
    place: tuple[int, ...] = (),
) -> Finding:
    left, right = values
    message = f"{named(column, place)} differs at {moment}: {left} against {right}"
    return finding_of(rule, moment, column, message, fused=left, reference=right)
