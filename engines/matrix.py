"""Every planted mistake, how `specwb check` should name it, and whether it does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from engines.faults.planting import PLANTED
from engines.pool import side_by_side
from engines.proof import EngineFailedError, Texts, greedy_differences, run
from engines.scenarios import EAGLE, MIXED, PREEMPTED, SECOND, Job
from tracing.finding import Finding
from tracing.reader import open_run
from workbench.adapters.vllm.join import join
from workbench.judge.recorded.check import check_run


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFault:
    """One planted mistake.

    Attributes:
        name: Of the function in `engines.faults`; or none of them, where the engine itself makes it.
        rules: Of which one at least names it; empty where none can.
        blind: Why none can.
        job: Fields of the job besides those of EAGLE-3.
    """

    name: str
    rules: tuple[str, ...] = ()
    blind: str = ""
    job: Mapping[str, Any] = field(default_factory=dict)


FAULTS: Final = (
    EngineFault(name="positions_plus_one", rules=("POS001",)),
    EngineFault(name="wrong_bonus_token", rules=("ACC004",)),
    EngineFault(name="shared_block", rules=("REQ001", "REQ004")),
    EngineFault(name="table_overrun", rules=("REQ004", "REQ005")),
    EngineFault(name="stale_drafts", rules=("DRAFT",)),
    EngineFault(name="never_accepting", rules=("ACC003", "STAT001")),
    EngineFault(name="seq_lens_one_short", rules=("REQ010",)),
    EngineFault(
        name="cache_hit_beyond_the_prefix", rules=("REQ006",), job={"proposer": "ngram", "drafter": ""}
    ),
    EngineFault(name="eagle_block_not_dropped", rules=("REQ007",)),
    EngineFault(
        name="host_length_not_corrected",
        blind="the CPU operator reads the device's lengths; a bound on the host is lawful there",
    ),
    EngineFault(name="slots_of_the_launch_before", rules=("REQ001", "REQ005", "SLOT")),
    EngineFault(name="frozen_lengths", rules=("REQ010",)),
    EngineFault(
        name="features_one_row_late",
        blind="the text stays right and drafts are still accepted; features are not seen",
    ),
    EngineFault(name="temperatures_of_neighbours", rules=("SAMP003",), job={"runs": {"mixed": MIXED}}),
    EngineFault(name="draft_vocabulary_offset_lost", rules=("STAT001",)),
    EngineFault(name="resumed_one_late", rules=("REQ008",), job={"options": PREEMPTED}),
    EngineFault(name="second_positions_plus_one", rules=("POS001",), job=SECOND),
    EngineFault(name="second_wrong_bonus_token", rules=("ACC004",), job=SECOND),
    EngineFault(name="second_never_accepting", rules=("ACC003", "STAT001"), job=SECOND),
    EngineFault(name="second_shared_block", rules=("REQ001", "REQ004"), job=SECOND),
    EngineFault(name="second_seq_lens_one_short", rules=("REQ010",), job=SECOND),
    EngineFault(name="engine-of-0.32.0", rules=("LOGIT002", "ACC"), job={"runs": {"mixed": MIXED}}),
)


@dataclass(frozen=True, slots=True)
class PlantedOutcome:
    """What became of one mistake.

    Attributes:
        fault: Which one.
        is_expected: It was found as stated, or not found where none can find it.
        found: Rules that spoke, with the number of findings.
        first: Rule, request and launch of the first finding by a stated rule.
        is_text_equal: The greedy text stayed right.
    """

    fault: EngineFault
    is_expected: bool
    found: Mapping[str, int]
    first: str
    is_text_equal: bool


def planted(
    faults: Iterable[EngineFault], python: Path, folder: Path, pair: tuple[Path, Path]
) -> list[PlantedOutcome]:
    """Plant each mistake in an engine of its own; a line for each goes to stdout."""
    places = [str(each) for each in pair]
    plain = run(Job(name="plain"), python, folder, Job(name="plain").engine_options(*places))["greedy"]

    def texts_of(fault: EngineFault) -> Texts | EngineFailedError:
        job = _job(fault, folder)
        try:
            return run(job, python, folder, job.engine_options(*places))
        except EngineFailedError as problem:
            return problem

    outcomes = []
    for fault, texts in side_by_side(texts_of, faults):
        if isinstance(texts, EngineFailedError):
            outcome = PlantedOutcome(fault, False, {}, str(texts), False)
        else:
            equal = not greedy_differences(_job(fault, folder), texts, plain)
            touched = _log(folder / f"{fault.name}.planted")
            outcome = judged(fault, folder / fault.name, touched, is_text_equal=equal)
        print(f"{'passed  ' if outcome.is_expected else 'failed  '} {table_line(outcome)}", flush=True)
        outcomes.append(outcome)
    return outcomes


def _job(fault: EngineFault, folder: Path) -> Job:
    plants = () if fault.name.startswith("engine-") else (fault.name,)
    job = Job(name=fault.name, **{**EAGLE, **fault.job})
    log = {PLANTED: str(folder / f"{fault.name}.planted")}
    return replace(job, prepared=(*job.prepared, *plants), environment={**job.environment, **log})


def _log(file: Path) -> set[tuple[int, str]]:
    lines = file.read_text().splitlines() if file.exists() else []
    return {(int(number), name) for number, name in map(json.loads, lines) if number is not None}


def judged(
    fault: EngineFault, folder: Path, touched: set[tuple[int, str]], *, is_text_equal: bool
) -> PlantedOutcome:
    """Check a recording; a finding counts where it names a request and launch that the mistake touched."""
    join(folder)
    findings = check_run(folder, max_per_rule=None).findings
    counts: dict[str, int] = {}
    for each in findings:
        counts[each.rule] = counts.get(each.rule, 0) + 1
    places = _places(folder)
    stated = [each for each in findings if each.rule.startswith(fault.rules)] if fault.rules else []
    hits = [each for each in stated if not touched or places.get(_place(each)) in touched]
    first = ""
    if hits:
        is_whole = hits[0].rule.startswith("STAT")
        launch, request = ("whole run", "") if is_whole else places.get(_place(hits[0]), ("whole run", ""))
        first = (
            f"{hits[0].rule}, request {request}, launch {launch}" if request else f"{hits[0].rule}, whole run"
        )
    return PlantedOutcome(fault, bool(hits) if fault.rules else not findings, counts, first, is_text_equal)


def _place(finding: Finding) -> tuple[int, ...]:
    return tuple(finding.moment.place[:3])


def _places(folder: Path) -> dict[tuple[int, ...], tuple[int, str]]:
    """Return launch and request of each step."""
    rows = open_run(folder).path("fused")
    return {
        (int(row["prompt_id"]), int(row["turn"]), int(row["step"])): (
            int(row["launch"]),
            str(row["request_id"]),
        )
        for row in rows
    }


def table_line(outcome: PlantedOutcome) -> str:
    """Return one line of the table."""
    rules = ", ".join(f"{rule} x {number}" for rule, number in sorted(outcome.found.items())) or "none"
    text = "equal" if outcome.is_text_equal else "wrong"
    stated = " or ".join(outcome.fault.rules) or f"blind: {outcome.fault.blind}"
    return f"| {outcome.fault.name} | {text} | {stated} | {outcome.first or '-'} | {rules} |"


HEAD: Final = (
    "| planted | greedy text | expected | first that names it | all findings |",
    "|---|---|---|---|---|",
)
