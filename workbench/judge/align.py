"""Two recordings side by side: step columns until they first differ, emitted tokens by absolute position.

Runs need not be cut into batches alike, and memory does not grow with their length: a turn is compared
step by step until its first difference; from there on its steps no longer mean the same, and only the
tokens that the user gets are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from tracing.finding import Finding
from tracing.moment import Moment
from tracing.stages import IntArray
from workbench.judge.align_columns import AlignColumn, default_columns, first_difference, flat
from workbench.judge.align_cursor import Cursor
from workbench.judge.rules import RULES

MAX_TURNS_NAMED: Final = 64
"""Differing turns kept one by one; more are counted."""

STREAM_RULE = "JUDGE-ALIGN-STREAM"


@dataclass(frozen=True, slots=True)
class StepDifference:
    """The first difference of one turn.

    Attributes:
        moment: prompt, turn, step, stage and, for columns with a node axis, the node.
        column: Column that differs, or `step` when only one run has the step.
        left, right: The two values as short text; `missing` where a run has no such step.
        rule: Rule id.
    """

    moment: Moment
    column: str
    left: str
    right: str
    rule: str = "JUDGE-ALIGN-COLUMN"


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
        num_turns_differing: Turns with a difference.
        differences: The first difference of each such turn, in order, at most `MAX_TURNS_NAMED`.
        streams: Where their emitted tokens first differ; a turn may differ in steps and not in tokens.
        not_compared: Columns that one of the runs does not have.
    """

    num_steps: int = 0
    num_turns_differing: int = 0
    differences: list[StepDifference] = field(default_factory=list)
    streams: list[StreamDifference] = field(default_factory=list)
    not_compared: set[str] = field(default_factory=set)

    @property
    def same(self) -> bool:
        """Nothing differs and something was compared."""
        return not self.num_turns_differing and self.num_steps > 0

    def findings(self) -> tuple[Finding, ...]:
        """Return the differences as findings; two recordings cannot decide which is right."""
        steps = [_step_finding(difference) for difference in self.differences]
        return (*steps, *(_stream_finding(difference) for difference in self.streams))


def align(
    left: Iterable[Any], right: Iterable[Any], columns: Sequence[AlignColumn] | None = None
) -> Alignment:
    """Compare two recorded paths.

    Args:
        left: Record or sealed batches (or dicts of arrays) of one run, rows in order of prompt, turn, step.
        right: The same of the other run.
        columns: What to compare; default `default_columns()`.
    """
    compared = default_columns() if columns is None else tuple(columns)
    ours = Cursor(left)
    theirs, result = Cursor(right, ahead=ours), Alignment()
    while not ours.done and not theirs.done:
        rows = min(ours.available, theirs.available)
        unlike = (ours.keys(rows) != theirs.keys(rows)).any(axis=1)
        rows = int(np.argmax(unlike)) if unlike.any() else rows
        if rows == 0:
            _missing(ours, theirs, result)
            continue
        found = _first_in(ours, theirs, rows, compared, result)
        same_rows = rows if found is None else found[0]
        difference = None if found is None else _describe(ours, theirs, found, rows)
        result.num_steps += same_rows
        _advance(ours, theirs, same_rows)
        if difference is not None:
            _differ(ours, theirs, difference, result)
    for cursor in (ours, theirs):
        while not cursor.done:
            _one_sided(cursor, result, only_left=cursor is ours)
    return result


def _advance(ours: Cursor, theirs: Cursor, rows: int) -> None:
    """Step over equal rows on both sides."""
    if rows:
        ours.advance(rows)
        theirs.advance(rows)


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


def _describe(ours: Cursor, theirs: Cursor, found: tuple[int, AlignColumn], rows: int) -> StepDifference:
    """Describe what differs in one row."""
    row, column = found
    prompt_id, turn, step = ours.keys(rows)[row].tolist()
    one = flat(ours.column(column.name, rows)).row(row)
    other = flat(theirs.column(column.name, rows)).row(row)
    node, index = None, _first_index(one, other)
    if column.per_node and index is not None:
        nodes = ours.column("token_ids", rows)
        num_nodes = len(one) if nodes is None else len(flat(nodes).row(row))
        node = index * num_nodes // len(one)
    stage = column.stage if column.stage != "any" else ""
    moment = Moment(prompt_id, turn, step, stage, node if stage else None)
    return StepDifference(moment, column.name, _short(one, index), _short(other, index))


def _first_index(one: Any, other: Any) -> int | None:
    """Return the first differing element of two arrays of one length, or None."""
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray) or len(one) != len(other):
        return None
    unlike = (one != other) & ~((one != one) & (other != other))  # noqa: PLR0124 - NaN differs from itself
    return int(np.argmax(unlike)) if unlike.any() else None


def _short(value: Any, index: int | None) -> str:
    """Return one value, or one element of it, as short text."""
    if value is None:
        return "null"
    if not isinstance(value, np.ndarray):
        return str(value)
    if index is not None:
        return f"[{index}] = {value[index]}"
    text = ", ".join(str(element) for element in value[:8].tolist())
    return f"{len(value)} values: {text}{', ..' if len(value) > 8 else ''}"


def _missing(ours: Cursor, theirs: Cursor, result: Alignment) -> None:
    """Handle rows whose keys differ: a turn or the end of a turn that one run does not have."""
    if ours.turn == theirs.turn:
        step, other = int(ours.keys(1)[0, 2]), int(theirs.keys(1)[0, 2])
        moment = Moment(*ours.turn, min(step, other))
        difference = StepDifference(moment, "step", f"step {step}", f"step {other}", "JUDGE-ALIGN-MISSING")
        _differ(ours, theirs, difference, result)
    elif ours.turn < theirs.turn:
        _one_sided(ours, result, only_left=True)
    else:
        _one_sided(theirs, result, only_left=False)


def _one_sided(cursor: Cursor, result: Alignment, *, only_left: bool) -> None:
    """Note rows that only one run has, to the end of their turn."""
    prompt_id, turn = cursor.turn
    step = int(cursor.keys(1)[0, 2])
    texts = (f"step {step}", "missing") if only_left else ("missing", f"step {step}")
    difference = StepDifference(Moment(prompt_id, turn, step), "step", *texts, "JUDGE-ALIGN-MISSING")
    positions, tokens = cursor.drain_turn()
    none = np.zeros(0, dtype=np.int64)
    sides = ((positions, tokens), (none, none)) if only_left else ((none, none), (positions, tokens))
    _note(result, difference, _stream_difference((prompt_id, turn), *sides))


def _differ(ours: Cursor, theirs: Cursor, difference: StepDifference, result: Alignment) -> None:
    """Note a difference and compare what the rest of the turn emits."""
    turn = (difference.moment.prompt_id, difference.moment.turn)
    _note(result, difference, _stream_difference(turn, ours.drain_turn(), theirs.drain_turn()))


def _note(result: Alignment, difference: StepDifference, stream: StreamDifference | None) -> None:
    """Count one differing turn and keep its differences."""
    result.num_turns_differing += 1
    if len(result.differences) < MAX_TURNS_NAMED:
        result.differences.append(difference)
        if stream is not None:
            result.streams.append(stream)


def _stream_difference(
    turn: tuple[int, int], left: tuple[IntArray, IntArray], right: tuple[IntArray, IntArray]
) -> StreamDifference | None:
    """Return the first absolute position at which two streams differ, or None."""
    token_left = dict(zip(left[0].tolist(), left[1].tolist(), strict=True))
    token_right = dict(zip(right[0].tolist(), right[1].tolist(), strict=True))
    for position in sorted(token_left.keys() | token_right.keys()):
        one, other = token_left.get(position), token_right.get(position)
        if one != other:
            return StreamDifference(*turn, position, one, other)
    return None


def _step_finding(difference: StepDifference) -> Finding:
    """Return one step difference as a finding."""
    moment = difference.moment
    return Finding(
        verdict=RULES[difference.rule].verdict,
        guilty="unknown",
        moment=moment,
        column=difference.column,
        fused=difference.left,
        reference=difference.right,
        rule=difference.rule,
        message=f"{difference.column} differs at {moment}: {difference.left} against {difference.right}",
    )


def _stream_finding(difference: StreamDifference) -> Finding:
    """Return one stream difference as a finding."""
    left = "the end" if difference.left is None else f"token {difference.left}"
    right = "the end" if difference.right is None else f"token {difference.right}"
    return Finding(
        verdict=RULES[STREAM_RULE].verdict,
        guilty="unknown",
        moment=Moment(difference.prompt_id, difference.turn, 0, "accept"),
        column="emitted_token_ids",
        fused=difference.left,
        reference=difference.right,
        rule=STREAM_RULE,
        message=f"emitted tokens differ from position {difference.position} on: {left} against {right}",
    )
