"""One run of a case in lockstep: what is found first."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tracing.errors import SpecwbError
from workbench.reduce.case import RunCase
from workbench.reduce.outcome import CaseOutcome, CaseTrial
from workbench.reduce.running import recorded, subject_of
from workbench.reduce.source import OpenedSource

if TYPE_CHECKING:
    from workbench.lockstep.staged.run import StagedRun


def run_trial(opened: OpenedSource, trial: CaseTrial) -> CaseOutcome:
    """Run a case until it shows the finding, then our own path on it; nothing is kept on the disk."""
    start, outcome, number = time.perf_counter(), CaseOutcome(), 0
    for number in range(1, trial.most + 1):  # noqa: B007  counts the runs
        outcome = _outcome(opened, trial.case)
        if trial.target is None or outcome.problem or outcome.same == trial.target:
            break
    control = ""
    if trial.control and outcome.same == trial.target and not opened.source.is_plain:
        found = _outcome(opened, trial.case, control=True)
        control = found.problem or (str(found.finding["message"]) if found.finding else "")
    told = {**_plain(outcome), "control": control, "trials": number, "seconds": time.perf_counter() - start}
    return CaseOutcome(**told)


def _plain(outcome: CaseOutcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in CaseOutcome.__dataclass_fields__}


def _outcome(opened: OpenedSource, case: RunCase, *, control: bool = False) -> CaseOutcome:
    """Judge a case; what cannot be run keeps no finding."""
    with TemporaryDirectory(prefix="specwb-reduce-") as folder:
        try:
            with subject_of(opened, case, control=control) as subject:
                staged = recorded(opened, case, subject, Path(folder) / "run")
        except (SpecwbError, ValueError) as problem:
            return CaseOutcome(problem=f"{type(problem).__name__}: {problem}")
    first = next((each for each in staged.log.findings if each.severity == "error"), None)
    turns = staged.finished
    emitted = tuple(tuple(opened.original(case, turn.emitted)) for turn in turns)
    accepted = tuple(tuple(turn.num_accepted) for turn in turns)
    return CaseOutcome(
        finding=None if first is None else first.as_json(),
        emitted=emitted,
        num_accepted=accepted,
        committed_len=0 if first is None else _length_at(staged, first.moment),
    )


def _length_at(staged: StagedRun, moment: Any) -> int:
    """Return how many tokens are committed before a step."""
    for turn in staged.finished:
        if (turn.prompt_id, turn.turn) == (moment.prompt_id, moment.turn):
            return len(turn.prompt) + sum(each + 1 for each in turn.num_accepted[: moment.step])
    return 0
