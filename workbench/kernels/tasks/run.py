"""Send a candidate through the cases of a task folder, judged by the task's own rule and by ours."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from tracing.errors import UsageError
from workbench.kernels.call import CaseResult
from workbench.kernels.gates import built, refused_cases
from workbench.kernels.judge.own import Refusal, judge
from workbench.kernels.judge.published import PublishedVerdict
from workbench.kernels.kernel import Exact
from workbench.kernels.process.worker import GoneError, Worker
from workbench.kernels.reports import Gate, GateOptions, KernelReport
from workbench.kernels.tasks.folder import Task, read_task
from workbench.kernels.wire import Called, read

ITSELF: Final = "the task's own reference"


def run_task(folder: Path, candidate: str, options: GateOptions) -> KernelReport:
    """Run a task folder.

    Args:
        folder: See `read_task`.
        candidate: As `candidates.find` takes it; empty puts the task's reference in its place.
        options: `cases` are case ids; one device, the first seed.

    Raises:
        UsageError, EnvironmentProblemError: Folder, candidate or machine are not what is needed.
    """
    task = read_task(folder)
    rows = [row for row in task.rows if not options.cases or str(row["case_id"]) in options.cases]
    if not rows:
        raise UsageError(f"{folder}: no case {', '.join(options.cases)}; there are {len(task.rows)}")
    report = KernelReport(
        kernel=task.name,
        level=task.level,
        candidate=candidate or ITSELF,
        build=Gate("passed", candidate or ITSELF),
    )
    with tempfile.TemporaryDirectory() as place, Worker() as worker:
        if candidate:
            build = built(worker, candidate, options)
            if build.status != "passed":
                return replace(report, build=build)
        results: list[CaseResult] = []
        unrunnable: list[str] = []
        timing: dict[str, Any] = {}
        for row in rows:
            seconds = options.measure_s if row is rows[0] else 0.0
            request = _request(task, row, options, Path(place) / "case.result") | {"seconds": seconds}
            try:
                answer = worker.ask(request, options.limits.call_s + 4 * seconds)
            except GoneError as gone:
                results.append(CaseResult.failed(task.name, _named(row), "ordinary", gone.rule, str(gone)))
                break
            if "unrunnable" in answer:
                unrunnable.append(f"{_named(row)}: {answer['unrunnable']}")
                continue
            if "raised" in answer:
                told = ("KERNEL-RAISED", f"{answer['raised']}: {answer['sentence']}")
                results.append(CaseResult.failed(task.name, _named(row), "ordinary", *told))
                continue
            timing = timing or answer["timing"]
            results.append(_result(task, row, answer, read(Path(request["file"]))))
    return _summed(report, results, unrunnable, timing)


def _request(task: Task, row: Mapping[str, Any], options: GateOptions, file: Path) -> dict[str, Any]:
    plain = {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()
    }
    return {
        "do": "task",
        "validation": str(task.validation),
        "row": plain,
        "seed": options.seeds[0],
        "device": options.device,
        "file": str(file),
    }


def _result(task: Task, row: Mapping[str, Any], answer: Mapping[str, Any], called: Called) -> CaseResult:
    """Judge what came against the reference's outputs, and those against float64 where that could be run."""
    first, second = answer["outputs"], answer["outputs"] + answer["expected"]
    came, reference, truth = called.outputs[:first], called.outputs[first:second], called.outputs[second:]
    expected = [
        _exact(one, truth[n] if n < len(truth) else one, answer["terms"]) for n, one in enumerate(reference)
    ]
    names = [f"output {number}" for number in range(len(reference))]
    judged = judge(names, expected, [reference], came, most=math.inf)
    changed = [
        Refusal("KERNEL-INPUT", f"{name}: written to, and the task's reference does not", name)
        for name in called.changed
    ]
    whole = replace(judged, refusals=(*judged.refusals, *changed))
    public = PublishedVerdict(answer["published"]["passed"], raises=answer["published"]["raises"])
    return CaseResult(task.name, _named(row), "ordinary", whole, public)


def _named(row: Mapping[str, Any]) -> str:
    return f"case {row['case_id']}"


def _exact(reference: Any, truth: Any, terms: int) -> Exact:
    """Return what an output should be; its spread is its row's largest value, as no terms are known."""
    if not isinstance(reference, Tensor):
        return Exact(torch.empty(0), torch.float32, bits=True)
    if not reference.is_floating_point():
        return Exact(reference, reference.dtype, bits=True)
    fits = isinstance(truth, Tensor) and truth.shape == reference.shape and truth.is_floating_point()
    value = (truth if fits else reference).double()
    magnitude = value.abs().masked_fill(~value.isfinite(), 0)
    spread = magnitude.amax(-1, keepdim=True).expand_as(value) if value.dim() and value.numel() else magnitude
    return Exact(value, reference.dtype, spread=spread, terms=terms)


def _summed(
    report: KernelReport, results: list[CaseResult], unrunnable: list[str], timing: Mapping[str, Any]
) -> KernelReport:
    """Return the report of all cases; some of which the task itself may not be able to run here."""
    wrong = refused_cases(results)
    left_out = f"{len(unrunnable)} cases cannot be run here: {unrunnable[0]}" if unrunnable else ""
    if wrong:
        sentences = "; ".join(filter(None, (wrong, left_out)))
        return replace(report, results=tuple(results), correctness=Gate("refused", sentences))
    if unrunnable:
        return replace(report, results=tuple(results), correctness=Gate("not run", left_out))
    done = replace(report, results=tuple(results), correctness=Gate("passed", f"{len(results)} cases"))
    if not timing:
        return done
    speed = Gate("passed", f"{timing['speedup']:.2f} times the task's reference")
    return replace(done, performance=speed, timing=timing)
