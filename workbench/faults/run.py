"""Runs faults: what noticed each first, where, what else fired, and what a user would have seen."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any, Final

from tracing.errors import UsageError
from tracing.files import environment_problem
from tracing.finding import Finding
from workbench.checkpoints.report import Check
from workbench.faults.bench import Bench
from workbench.faults.experiment import FreeDecode, Setup, run_free, run_lockstep
from workbench.faults.fault import Fault
from workbench.faults.files import load, worse
from workbench.faults.placement import Placement
from workbench.judge.recorded.check import check_run

FEW_TOKENS: Final = 8
"""Enough to see that lockstep is blind to a fault in the files."""

CRASH: Final = "the workbench itself failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """The first sign of a fault.

    Attributes:
        rule: Invariant, comparison, operator rule or check of the load report.
        moment: Where in the run, or empty for the load report.
        stage: Stage named, or `load`.
        verdict: Of the finding, or the status of the check.
        guilty: Who is blamed.
        message: One sentence.
    """

    rule: str
    moment: str
    stage: str
    verdict: str
    guilty: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What became of a fault.

    Attributes:
        first: What was noticed first, or None.
        others: Further rules that fired, in order.
        text_equal: A user would have read the same tokens; None when there was nothing to read.
        clean_accepted, faulty_accepted: Mean of accepted drafts per step without and with the fault.
        error: What the unobserved path or the loader raises, or empty.
    """

    fault: Fault
    bench: str
    first: Notice | None
    others: tuple[str, ...] = ()
    text_equal: bool | None = None
    clean_accepted: float = 0.0
    faulty_accepted: float = 0.0
    error: str = ""

    @property
    def as_expected(self) -> bool:
        """Noticed by a rule named for it, at its stage, and the right side is blamed."""
        first, fault = self.first, self.fault
        return (
            first is not None
            and first.rule in fault.noticed_by
            and first.stage == fault.stage
            and first.guilty == fault.guilty
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        fault = self.fault
        return {
            "id": fault.id,
            "name": fault.name,
            "family": fault.family,
            "stage": fault.stage,
            "seen_in": list(fault.seen_in),
            "common_mode": fault.common_mode,
            "bench": self.bench,
            "noticed": self.first is not None,
            "as_expected": self.as_expected,
            "first": None if self.first is None else asdict(self.first),
            "others": list(self.others),
            "text_equal": self.text_equal,
            "clean_accepted": self.clean_accepted,
            "faulty_accepted": self.faulty_accepted,
            "error": self.error,
        }


def run_faults(faults: Iterable[Fault], bench: Bench, keep: Path | None = None) -> Iterator[Sighting]:
    """Run each fault on its own; nothing of one run is left for the next.

    Args:
        faults: The faults.
        bench: What they run on.
        keep: Where each recorded run is kept, in a folder of the fault's id; None keeps none.

    Raises:
        UsageError: A run would be kept where something is.
        EnvironmentProblemError: It cannot be kept there.
    """
    for fault in faults:
        with TemporaryDirectory(prefix="specwb-") as folder:
            sighting = run_fault(fault, bench, Path(folder))
            if keep is not None:
                _keep(Path(folder) / "run", keep / fault.id)
            yield sighting
        gc.collect()  # a path's models refer to themselves: without this, those of many runs pile up


def _keep(run: Path, target: Path) -> None:
    if not run.is_dir():  # a fault in the files may not load at all
        return
    if target.exists():
        raise UsageError(f"{target} is there already, and is not overwritten; choose another folder")
    try:
        copytree(run, target)
    except OSError as problem:
        raise environment_problem(target, problem) from None


def run_fault(fault: Fault, bench: Bench, folder: Path) -> Sighting:
    """Run one fault in lockstep and freely; `folder` is an empty one to work in."""
    if fault.common_mode:
        return _run_in_files(fault, bench, folder)
    setup = bench.setup(fault.need)
    try:
        findings = _findings(fault, setup, folder / "run")
    except Exception as problem:  # noqa: BLE001  a fault that brings the workbench down is a sighting too
        return Sighting(fault=fault, bench=bench.name, first=None, error=f"{CRASH}: {problem}")
    clean, faulty = bench.clean(fault.need), run_free(setup, fault.place())
    return _seen_by_user(_noticed(fault, bench, [_notice(finding) for finding in findings]), clean, faulty)


def _findings(fault: Fault, setup: Setup, folder: Path) -> list[Finding]:
    placement = fault.place()
    found = run_lockstep(setup, placement, folder).findings
    return list(found) if placement.rows is None else _found_by_check(folder)


def _run_in_files(fault: Fault, bench: Bench, folder: Path) -> Sighting:
    """Load a spoiled copy of the pair; what loads is decoded too, on both paths, which share the fault."""
    clean_dirs = bench.export(folder / "clean")
    copies = tuple(copytree(source, folder / source.name) for source in clean_dirs)
    spoil = fault.place().files
    assert spoil is not None
    spoil(copies[0], copies[1])
    clean, faulty = load(*clean_dirs), load(copies[0], copies[1])
    sighting = _noticed(fault, bench, [_notice_of_check(check) for check in worse(faulty, clean)])
    assert clean.pair is not None
    if faulty.pair is None:
        return replace(sighting, error=faulty.noticed[0].sentence)
    plain = bench.setup("plain")
    setup = replace(plain, settings=replace(plain.settings, max_new_tokens=FEW_TOKENS))
    jobs = [replace(setup, pair=pair) for pair in (clean.pair, faulty.pair)]
    found = run_lockstep(jobs[1], Placement(), folder / "run").findings
    fired = dict.fromkeys([*sighting.others, *(finding.rule for finding in found)])
    seen = [run_free(job, Placement()) for job in jobs]
    return _seen_by_user(replace(sighting, others=tuple(fired)), seen[0], seen[1])


def _noticed(fault: Fault, bench: Bench, notices: list[Notice]) -> Sighting:
    first = notices[0] if notices else None
    rules = dict.fromkeys(notice.rule for notice in notices)
    others = tuple(rule for rule in rules if first is None or rule != first.rule)
    return Sighting(fault=fault, bench=bench.name, first=first, others=others)


def _seen_by_user(sighting: Sighting, clean: FreeDecode, faulty: FreeDecode) -> Sighting:
    return replace(
        sighting,
        text_equal=None if faulty.error else faulty.emitted == clean.emitted,
        clean_accepted=clean.mean_accepted,
        faulty_accepted=faulty.mean_accepted,
        error=faulty.error,
    )


def _notice(finding: Finding) -> Notice:
    return Notice(
        rule=finding.rule,
        moment=str(finding.moment),
        stage=finding.moment.stage,
        verdict=finding.verdict if finding.severity == "error" else finding.severity,
        guilty=finding.guilty,
        message=finding.message,
    )


def _notice_of_check(check: Check) -> Notice:
    return Notice(check.id, "", "load", check.status, "both", check.sentence)


def _found_by_check(folder: Path) -> list[Finding]:
    """What `specwb check` finds in the recorded rows, in order of the run."""
    findings = check_run(folder).findings
    return sorted(findings, key=lambda finding: (finding.moment.place, finding.moment.stage_number))
