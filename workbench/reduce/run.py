"""A reduction from its cases to its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tracing.errors import UsageError
from workbench.lockstep.session.ports import load_factory, takes_eager
from workbench.reduce.case import RunCase
from workbench.reduce.evaluate import Evaluator, Here, Runner
from workbench.reduce.folder import renumbered, write_case
from workbench.reduce.kept import begin
from workbench.reduce.models import FOLDER
from workbench.reduce.readme import Told, readme_of, versions
from workbench.reduce.search import Observed, observe, reduced
from workbench.reduce.sizes import Sizes, sizes_of
from workbench.reduce.source import OpenedSource
from workbench.reduce.trial import run_trial
from workbench.reduce.workers import Workers

SUMMARY = "reduction.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How to search.

    Attributes:
        workers: Processes; 0 runs everything in this one.
        time_limit: Seconds, or None.
        tries: Runs of the whole case until it finds something.
    """

    workers: int = 2
    time_limit: float | None = None
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Reduced:
    """What a reduction came to.

    Attributes:
        observed: What stayed.
        finding: The first of the reduced run, as JSON.
        before, after: Sizes.
        num_run: Cases that were run in this process's life.
        num_known: Cases whose outcome is kept.
        seconds: It took.
        whole: Whether the search came to its end.
        folder_bytes: Of the weights as they lie in the folder.
    """

    folder: Path
    observed: Observed
    finding: dict[str, Any]
    before: Sizes
    after: Sizes
    num_run: int
    num_known: int
    seconds: float
    whole: bool
    folder_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "folder": str(self.folder),
            "finding": self.finding,
            "rate": self.observed.rate,
            "before": self.before.as_json(),
            "after": self.after.as_json(),
            "num_run": self.num_run,
            "num_known": self.num_known,
            "seconds": round(self.seconds, 3),
            "whole": self.whole,
            "weights_file_bytes": self.folder_bytes,
        }


def reduce_cases(
    opened: OpenedSource,
    cases: Sequence[RunCase],
    folder: Path,
    wishes: Wishes,
    tell: Callable[[str, RunCase], object] = lambda _axis, _case: None,
) -> Reduced:
    """Make the first case that finds something smaller, and write what is left.

    Args:
        opened: The whole models.
        cases: Prompts, each with its options.
        folder: New, or of the same reduction that was ended before.
        wishes: How to search.
        tell: Called with each smaller case.

    Raises:
        UsageError: None finds anything, or the folder holds something else.
        SpecwbError: The models, the device, the disk.
    """
    start = time.monotonic()
    deadline = None if wishes.time_limit is None else start + wishes.time_limit
    asked = {"source": opened.source.as_json(), "cases": [case.as_json() for case in cases]}
    outcomes = begin(folder, asked)
    with _runner(opened, wishes) as runner:
        case, observed = _first_failing(runner, outcomes, cases, wishes.tries)
        evaluator = Evaluator(
            runner, outcomes, observed.target, observed.most_trials, not observed.control, deadline
        )
        fuses = _can_be_eager(opened.source.fused)
        found = reduced(case, evaluator, opened.pair, can_be_eager=fuses, tell=tell)
    last = outcomes.get(found.after.key)
    sizes = (
        sizes_of(case, opened.pair, observed.outcome),
        sizes_of(found.after, opened.cut(found.after.cut), last),
    )
    written = write_case(opened, found.after, folder, observed.most_trials)
    told = Told(
        finding=written.finding.as_json(),
        case=renumbered(opened, found.after),
        observed=observed,
        before=sizes[0],
        after=sizes[1],
        evidence=written.evidence,
        texts=_texts(folder),
        versions=versions(),
        subject=_subject(opened),
        without=" without the fault" if opened.source.fault else "",
        num_run=len(outcomes),
        whole=found.whole,
        is_random=found.after.cut.seed is not None,
        is_controlled=not opened.source.is_plain and not observed.control,
    )
    (folder / "README.md").write_text(readme_of(told), encoding="utf-8")
    result = Reduced(
        folder,
        observed,
        written.finding.as_json(),
        *sizes,
        evaluator.num_run,
        len(outcomes),
        time.monotonic() - start,
        found.whole,
        written.num_bytes,
    )
    (folder / SUMMARY).write_text(json.dumps(result.as_json(), indent=1), encoding="utf-8")
    return result


def _can_be_eager(fused: str | None) -> bool:
    """Whether operators of the path under test can be made eager."""
    return fused is None or takes_eager(load_factory(fused))


def _runner(opened: OpenedSource, wishes: Wishes) -> AbstractContextManager[Runner]:
    if wishes.workers:
        return Workers(opened.source, wishes.workers)
    return nullcontext(Here(partial(run_trial, opened)))


def _first_failing(
    runner: Runner, outcomes: Any, cases: Sequence[RunCase], tries: int
) -> tuple[RunCase, Observed]:
    for number, case in enumerate(cases):
        try:
            return case, observe(runner, outcomes, case, tries)
        except UsageError:
            if number == len(cases) - 1:
                raise
    raise UsageError("there is no prompt to reduce")


def _subject(opened: OpenedSource) -> str:
    source = opened.source
    if source.fused is not None:
        return source.fused
    return f"specwb's own path with the fault {source.fault}" if source.fault else "specwb's own path"


def _texts(folder: Path) -> dict[int, str]:
    held = json.loads((folder / FOLDER / "config.json").read_text(encoding="utf-8"))
    return {int(token): text for token, text in held["texts"].items()}
