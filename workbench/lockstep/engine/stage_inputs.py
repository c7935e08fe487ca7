"""Values between stages: the next stage launches what a stage gave, and does not write into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from tracing.codec import launch_columns
from tracing.fields import forms_of
from tracing.finding import Finding
from tracing.hostarray import host_array
from tracing.moment import Moment
from tracing.results import RESULT_OF_STAGE
from tracing.stage_validation import InvalidStageResultError
from tracing.stages import Drafted, DraftLevel, Tensorized
from workbench.judge.places import axes_of, entry, place_name
from workbench.lockstep.engine.failures import fused_finding
from workbench.lockstep.engine.under_test import RESULT_FIELDS, StepResults
from workbench.lockstep.tensors.host import host_floats, validated

WRITTEN: Final = "JUDGE-INPUT-WRITTEN"
LAUNCHED: Final = "JUDGE-INPUT-LAUNCHED"
GIVEN: Final[Mapping[str, tuple[str, ...]]] = {
    "tensorize": ("draft",),
    "verify": ("tensorize",),
    "accept": ("tensorize", "verify"),
    "commit": ("tensorize", "verify", "accept"),
}
"""Stage to the stages whose results it is given."""
SEEN_AT_LAUNCHES: Final = ("draft", "tensorize", "accept")
"""Stages whose results later launches are given; what verify reads back is its own."""


COPIED: Final = {
    form.column.name: form.name
    for form in forms_of(Tensorized)
    if form.column is not None and form.name in {each.name for each in forms_of(Drafted)}
}
"""Columns of the draft that a trace has as tensorize copied them, and the field of both results."""
AXES: Final = {form.column.name: form.axes for form in forms_of(Drafted) if form.column is not None}
"""Axes of what a draft gives, by column; a column that has any length counts drafted nodes there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that changed.

    Attributes:
        name: Field or column.
        place: First entry that differs, by axis; empty for the whole value.
        axes: Axes of the value.
        before, after: What was and is there, as short text.
    """

    name: str
    before: str
    after: str
    place: tuple[int, ...] = ()
    axes: tuple[str, ...] = ()

    @property
    def node(self) -> int | None:
        """The node that the entry is of, or None."""
        return self.place[0] if self.place and self.axes[:1] in {("N",), ("n",)} else None

    def __str__(self) -> str:
        """Return the name and the place in words."""
        where = place_name(self.axes, self.place)
        return f"{self.name} of {where}" if where else self.name


def written_into(
    stage: str, at: Moment, results: StepResults, sizes: Mapping[str, int]
) -> tuple[Finding, ...]:
    """Return what a stage that has just run wrote into the results it was given.

    Args:
        stage: The stage.
        at: Prompt, turn and step.
        results: Its `inputs` were given to the stage, its other fields are copies from before.
        sizes: The dimensions that every result must have.
    """
    found = []
    for giver in GIVEN.get(stage, ()):
        if giver in results.inputs:
            before = getattr(results, RESULT_FIELDS[giver])
            for each in _changes(giver, before, results.inputs[giver], sizes):
                what = f"{stage} wrote into {each}, which {giver} gave"
                found.append(_finding(WRITTEN, stage, at, each, f"{what} as {each.before}: now {each.after}"))
    return tuple(found)


def expected_at_launches(stage: str, results: StepResults) -> dict[str, Any]:
    """Return the columns that launches of later stages must be given, now that a stage has its result."""
    given = getattr(results, RESULT_FIELDS[stage]) if stage in SEEN_AT_LAUNCHES else None
    later = {"draft_parents": None} if stage == "tensorize" else {}  # its own parents from here on
    return {} if given is None else launch_columns(given) | later


class Copied(NamedTuple):
    """What tensorize made of the draft.

    Attributes:
        changed: Columns of the draft that it copied wrongly.
        kept: Those that it copied rightly; none where the draft is not the path's own.
        num_nodes: Drafted nodes, the root included; the rows behind them are tensorize's.
    """

    changed: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    num_nodes: int = 0


def copied_by_tensorize(results: StepResults) -> Copied:
    """Compare the tensorized tree with the drafted one, as far as a step has come."""
    drafted, built = results.drafted, results.tensorized
    if drafted is None or built is None:
        return Copied()
    num_nodes = len(drafted.token_ids)
    copied = {
        column: _difference(name, _host(drafted, name), _host(built, name)[:num_nodes]) is None
        for column, name in COPIED.items()
        if getattr(drafted, name) is not None and getattr(built, name) is not None
    }
    changed = frozenset(column for column, same in copied.items() if not same)
    kept = frozenset(copied) - changed if results.own("draft") else frozenset()
    return Copied(changed, kept, num_nodes)


def launched_differently(
    stage: str, at: Moment, columns: Mapping[str, Any], expected: Mapping[str, Any]
) -> tuple[Finding, ...]:
    """Return where a launch gets other values than the stages before it gave; pads may differ."""
    valid = None if expected.get("valid") is None else host_array(expected["valid"], "valid")
    found = []
    for name, before in expected.items():
        if before is None or columns.get(name) is None:
            continue
        axes = AXES.get(name) if "N" not in axes_of(name) else None
        each = _difference(name, _comparable(name, before), _comparable(name, columns[name]), valid, axes)
        if each is not None:
            what = f"{stage} is about to launch {each} as {each.after}"
            found.append(_finding(LAUNCHED, stage, at, each, f"{what}, and was given {each.before}"))
    return tuple(found)


def _comparable(name: str, value: Any) -> Any:
    return value if isinstance(value, (str, int, np.generic)) else host_array(value, name)


def _host(result: Any, name: str) -> Any:
    """A field of a result as a host array; a free running path may give lists, or tensors of its device."""
    return host_array(getattr(result, name), name)


def _changes(giver: str, before: Any, inputs: Any, sizes: Mapping[str, int]) -> Iterator[Difference]:
    try:
        after = validated(giver, inputs, sizes)
    except InvalidStageResultError as invalid:
        yield Difference(invalid.column, invalid.expected, invalid.came)
        return
    yield from _differences(RESULT_OF_STAGE[giver], before, after)


def _differences(result: type, before: Any, after: Any, prefix: str = "") -> Iterator[Difference]:
    """Yield what differs between two results of a class, in the order of its fields."""
    for form in forms_of(result):
        name = form.name
        ours, theirs = getattr(before, name), getattr(after, name)
        if name == "levels" and ours is not None and theirs is not None:
            if len(ours) != len(theirs):
                yield Difference("levels", f"{len(ours)} levels", f"{len(theirs)} levels")
            for number, both in enumerate(zip(ours, theirs, strict=False)):
                yield from _differences(DraftLevel, *both, prefix=f"levels[{number}].")
        elif (each := _difference(prefix + name, ours, theirs, axes=form.axes)) is not None:
            yield each


def _difference(
    name: str, before: Any, after: Any, rows: Any = None, axes: tuple[str, ...] | None = None
) -> Difference | None:
    """Return the first difference of two values; of arrays in `rows` only, if given and if they have such."""
    if (before is None) != (after is None):
        given, gone = ("None" if each is None else "given" for each in (before, after))
        return Difference(name, given, gone)
    if isinstance(before, torch.Tensor):
        if torch.equal(before, after):
            return None
        before, after = host_floats(before), host_floats(after)
    if not isinstance(before, np.ndarray):
        return None if before == after else Difference(name, str(before), str(after))
    if before.shape != after.shape:
        return Difference(name, f"shape {list(before.shape)}", f"shape {list(after.shape)}")
    hidden, still_hidden = np.ma.getmaskarray(before), np.ma.getmaskarray(after)
    ours, theirs = np.ma.getdata(before), np.ma.getdata(after)
    same = (ours == theirs) | ((ours != ours) & (theirs != theirs))  # noqa: PLR0124  NaN differs from itself
    differs = np.asarray((hidden != still_hidden) | ~(same | hidden))
    if rows is not None and differs.shape[:1] == rows.shape:
        differs[~rows] = False
    if not differs.any():
        return None
    place = tuple(int(index) for index in np.argwhere(differs)[0])
    known = axes_of(name) if axes is None else axes
    return Difference(name, entry(before, place), entry(after, place), place, known)


def _finding(rule: str, stage: str, at: Moment, each: Difference, message: str) -> Finding:
    values = {"fused": each.after, "reference": each.before}
    return fused_finding(rule, at.at(stage, each.node), message, each.name, **values)
