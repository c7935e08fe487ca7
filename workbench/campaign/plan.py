"""A plan: independent cases in a folder, made once and run anywhere."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tracing.errors import EnvironmentProblemError, UsageError
from tracing.files import replace_file
from workbench.campaign.axes import options_of, parse_axes
from workbench.campaign.case import PlannedCase
from workbench.campaign.suites import PlannedPrompt, prompts_of

FORMAT: Final = "specwb-campaign-1"
PLAN_NAME: Final = "plan.json"
CASES_NAME: Final = "cases.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a plan is made from.

    Attributes:
        suite: As `suites.prompts_of` reads it.
        over: As `axes.parse_axes` reads it.
        cover: `pairwise` or `full`.
        faults: Names of faults, each planted in some cases; a plan without any judges the path as it is.
        clean: With faults: whether there are cases without one too.
        cases: How many; None for as few as the cover takes.
        seed: Of everything drawn.
        canaries: So many of the cases without a fault are run by every worker.
        model, draft: Checkpoint directories; None is the shipped pair.
        max_new_tokens: Of every turn, where no axis says.
        memory_mb: Memory that a worker needs; 0 where nobody said.
    """

    suite: str
    over: str = ""
    cover: str = "pairwise"
    faults: tuple[str, ...] = ()
    clean: bool = True
    cases: int | None = None
    seed: int = 0
    canaries: int = 1
    model: str | None = None
    draft: str | None = None
    max_new_tokens: int = 32
    device: str = "auto"
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that was read or made.

    Attributes:
        about: What it was made from, as plain data.
        axes: Axis to values, `fault` among them where faults are planted.
        cases: In order.
    """

    about: Mapping[str, Any]
    axes: Mapping[str, Sequence[str]]
    cases: tuple[PlannedCase, ...]

    @property
    def canaries(self) -> tuple[PlannedCase, ...]:
        """The cases that every worker runs."""
        return tuple(case for case in self.cases if case.canary)


def make_plan(request: PlanRequest) -> Plan:
    """Return the cases of a request.

    Raises:
        UsageError: A suite, an axis or a combination of values that cannot be.
    """
    prompts = prompts_of(request.suite, request.seed)
    if not prompts:
        raise UsageError(f"suite {request.suite} holds no prompt")
    axes: dict[str, Sequence[str]] = dict(parse_axes(request.over))
    if request.faults:
        axes["fault"] = [*([""] if request.clean else []), *request.faults]
    rows = rows_of(axes, request.cover)
    for row in rows:
        options_of(_options(row), request.max_new_tokens)
    pairs = _pairs(prompts, rows, request)
    canaries = _canaries(pairs, request.canaries)
    extra = "npu" if request.device == "npu" else ""
    needs = {"device": request.device, "memory_mb": request.memory_mb, "extra": extra}
    cases = tuple(
        PlannedCase(
            number=number,
            name=prompt.name,
            turns=prompt.turns,
            cut=prompt.cut,
            over=_options(row),
            fault=row.get("fault", ""),
            seed=request.seed + number,
            canary=number in canaries,
            needs=needs,
        )
        for number, (prompt, row) in enumerate(pairs)
    )
    return Plan(asdict(request), axes, cases)


def _pairs(
    prompts: Sequence[PlannedPrompt], rows: Sequence[Mapping[str, str]], request: PlanRequest
) -> list[tuple[PlannedPrompt, Mapping[str, str]]]:
    """Return which prompt is decoded under which values; each of both occurs where there is room."""
    if request.cover == "full":
        pairs = [(prompt, row) for row in rows for prompt in prompts]
        return pairs if request.cases is None else pairs[: request.cases]
    count = request.cases or max(len(prompts), len(rows))
    return [(prompts[number % len(prompts)], rows[number % len(rows)]) for number in range(count)]


def _canaries(pairs: Sequence[tuple[PlannedPrompt, Mapping[str, str]]], wanted: int) -> frozenset[int]:
    clean = [number for number, (_, row) in enumerate(pairs) if not row.get("fault")]
    return frozenset(clean[:wanted])


def _options(row: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name != "fault"}


def write_plan(plan: Plan, folder: Path) -> None:
    """Write a plan into a new or empty folder.

    Raises:
        UsageError: Something is there.
        EnvironmentProblemError: The disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty, and nothing is overwritten; choose another folder")
        lines = "".join(json.dumps(case.as_json()) + "\n" for case in plan.cases)
        replace_file(folder / CASES_NAME, lines.encode())
        facts = {"format": FORMAT, "about": dict(plan.about), "axes": dict(plan.axes)}
        replace_file(folder / PLAN_NAME, (json.dumps(facts, indent=1) + "\n").encode())
    except OSError as problem:
        raise EnvironmentProblemError(f"cannot write a plan to {folder}: {problem.strerror}") from None


def read_plan(folder: Path) -> Plan:
    """Read a plan.

    Raises:
        UsageError: The folder holds none, or its files were changed.
    """
    try:
        facts = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8"))
        lines = (folder / CASES_NAME).read_text(encoding="utf-8").splitlines()
        cases = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        raise UsageError(f"{folder} holds no plan; make one with specwb campaign plan") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise UsageError(f"{folder} holds no plan of format {FORMAT}; make it again")
    read = tuple(
        PlannedCase.from_json(case, f"{folder / CASES_NAME} line {number}")
        for number, case in enumerate(cases, 1)
    )
    if [case.number for case in read] != list(range(len(read))):
        raise UsageError(f"{folder / CASES_NAME} lacks cases, or holds one twice; make the plan again")
    return Plan(facts["about"], facts["axes"], read)


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
