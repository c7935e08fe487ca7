"""Before attribution: a stage repeated on a copy of its state must give the same bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.fields import forms_of
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.results import RESULT_OF_STAGE
from workbench.judge.notes import Notes, StageJudgement
from workbench.judge.places import entry, place_name
from workbench.judge.rules import RULES

AXES: Final = {
    (stage, form.name): form.axes for stage, result in RESULT_OF_STAGE.items() for form in forms_of(result)
}
"""Stage and field of its result to the axes of the field."""
_Where = tuple[tuple[int, int, int], str]


def judge_repeat(
    moment: Moment, stage: str, path: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> StageJudgement:
    """Compare two runs of one stage of one path, bit for bit (NaN equals the same NaN).

    Args:
        moment: prompt, turn and step.
        stage: The repeated stage.
        path: `fused` or `reference`.
        first: Column to array of the first run; row axis first.
        second: The same of the repeat.
    """
    notes = Notes(moment, stage)
    for column in sorted(first.keys() | second.keys()):
        if column not in first or column not in second:
            notes.skip(column, f"only one of the two runs of {stage} has it")
            continue
        notes.check(f"{column} (repeat)")
        one, other = np.asarray(first[column]), np.asarray(second[column])
        axes = AXES.get((stage, column), ())
        fault, place = _difference(one, other, axes)
        if fault:
            message = f"{column} of the {path} path differs with itself when {stage} is repeated: {fault}"
            node = place[0] if axes[:1] in {("N",), ("n",)} and place else None
            notes.finding("JUDGE-REPEAT", column, message, guilty=path, node=node)
    return notes.judgement()


def _difference(one: NDArray[Any], other: NDArray[Any], axes: tuple[str, ...]) -> tuple[str, tuple[int, ...]]:
    """Return how two arrays differ, or an empty string, and where first, `()` for the whole value."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"{one.dtype}{list(one.shape)} and {other.dtype}{list(other.shape)}", ()
    unlike = ~(_bits(one) == _bits(other)).all(axis=-1)
    if not unlike.any():
        return "", ()
    place = tuple(int(axis[0]) for axis in np.nonzero(unlike))
    both = f"{entry(one, place)} and then {entry(other, place)}"
    return f"{int(unlike.sum())} of {one.size} values, first {place_name(axes, place)}: {both}", place


def _bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    whole = np.ascontiguousarray(array)
    return whole.view(np.uint8).reshape(*array.shape, array.dtype.itemsize)


def before_blame(findings: Iterable[Finding], repeats: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, those of a stage that differs with itself turned into `nondeterministic`.

    Args:
        findings: What the judge found.
        repeats: What `judge_repeat` found on the same step; empty when the stage is deterministic.
    """
    unsteady: dict[_Where, set[str]] = {}
    for repeat in repeats:
        unsteady.setdefault((repeat.moment.place, repeat.moment.stage), set()).add(repeat.guilty)
    return tuple(_turned(finding, unsteady) for finding in findings)


def with_stale(findings: Iterable[Finding], first: Finding, how: str) -> tuple[Finding, ...]:
    """Return the findings of a step, stale inputs before the others of their stage, which follow from it.

    Args:
        findings: What the judge found.
        first: The first wrong thing of the stage.
        how: What repeating the stage showed.
    """
    stage = first.moment.stage
    message = f"{stage} worked on what an earlier call left: {how}; {first.message}"
    stale = replace(
        first,
        rule="JUDGE-STALE",
        verdict=RULES["JUDGE-STALE"].verdict,
        guilty="fused",
        message=message,
    )
    found: list[Finding] = []
    for finding in findings:
        if finding is first:
            found.append(stale)
        here = (finding.moment.place, finding.moment.stage) == (first.moment.place, stage)
        found.append(replace(finding, consequence=True) if here else finding)
    return tuple(found)


def _turned(finding: Finding, unsteady: Mapping[_Where, set[str]]) -> Finding:
    """Turn one finding when its stage is unsteady on some path."""
    paths = unsteady.get((finding.moment.place, finding.moment.stage))
    if not paths:
        return finding
    who = next(iter(paths)) if len(paths) == 1 else "both"
    return replace(finding, verdict="nondeterministic", guilty=who)
