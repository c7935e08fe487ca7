"""Three gates, each opening the next: it builds, it is right, it is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tracing.errors import ContractError, EnvironmentProblemError, UsageError
from workbench.kernels.call import CaseResult, judge_call
from workbench.kernels.calls import BROKEN
from workbench.kernels.calls.fused_infer_attention_broken import TREE_BROKEN
from workbench.kernels.kept import result_file
from workbench.kernels.kernel import Kernel, Trial
from workbench.kernels.process.candidates import OWN
from workbench.kernels.process.worker import GoneError, Worker
from workbench.kernels.reports import Gate, GateOptions, KernelReport
from workbench.kernels.wire import read
from workbench.npu.modes import use_capabilities

LOSSES: Final = 3
"""Processes that one operator may end before its other cases are left out."""


def run_gates(
    kernels: Sequence[Kernel],
    candidate: str,
    options: GateOptions,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[KernelReport]:
    """Yield the report of each operator; one process runs them all until a candidate ends it.

    Raises:
        UsageError, EnvironmentProblemError: The candidate is not there, or what it needs is not.
    """
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        session = _Session(candidate, options, folder)
        stack.callback(session.end)
        for kernel in kernels:
            note(kernel.name)
            yield session.report(kernel)


class _Session:
    """A candidate's process, renewed where the candidate ends it."""

    def __init__(self, candidate: str, options: GateOptions, folder: Path) -> None:
        self._candidate, self._options, self._folder = candidate, options, folder
        self._worker: Worker | None = None
        self._build = Gate("not run")

    def end(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.__exit__(None, None, None)
            self._worker = None

    def report(self, kernel: Kernel) -> KernelReport:
        """Send one operator through the gates."""
        if self._worker is None:
            self._build = self._start()
        report = KernelReport(
            kernel=kernel.name, level=kernel.level, candidate=self._candidate, build=self._build
        )
        if self._build.status != "passed":
            self.end()
            return report
        results, not_run, build = self._cases(kernel)
        if build is not None:
            return replace(report, build=build)
        correctness = self._correctness(kernel, results, not_run)
        report = replace(report, results=tuple(results), correctness=correctness)
        if correctness.status != "passed" or not self._options.measure_s:
            return report
        performance, timing = self._time(kernel)
        return replace(report, performance=performance, timing=timing)

    def _start(self) -> Gate:
        self._worker = Worker()
        return built(self._worker, self._candidate, self._options)

    def _cases(self, kernel: Kernel) -> tuple[list[CaseResult], int, Gate | None]:
        """Return what was judged, how many cases were left out, and a build that failed only when called."""
        chosen = [one for one in kernel.cases if not self._options.cases or one.name in self._options.cases]
        jobs = [(case, seed) for seed in self._options.seeds for case in chosen]
        results: list[CaseResult] = []
        losses = 0
        for number, (case, seed) in enumerate(jobs):
            if self._worker is None and (losses >= LOSSES or self._start().status != "passed"):
                return results, len(jobs) - number, None
            result = self._case(kernel, case, seed)
            if isinstance(result, Gate):
                return results, 0, result
            losses += self._worker is None
            results.append(result)
        return results, 0, None

    def _case(self, kernel: Kernel, case: Trial, seed: int) -> CaseResult | Gate:
        assert self._worker is not None
        file = result_file(self._folder, kernel.name, case.name, seed)
        request = self._request("call", kernel, seed) | {"case": case.name, "file": str(file)}
        try:
            answer = self._worker.ask(request, self._options.limits.call_s)
        except GoneError as gone:
            self.end()
            return CaseResult.failed(kernel.name, case.name, case.values, gone.rule, str(gone))
        if "uncompiled" in answer:
            return Gate("refused", f"KERNEL-BUILD: {case.name}: {answer['sentence']}")
        if "raised" in answer:
            place = f" ({answer['frames'][-1]})" if answer["frames"] else ""
            raised = f"{answer['raised']}: {answer['sentence']}{place}"
            return CaseResult.failed(kernel.name, case.name, case.values, "KERNEL-RAISED", raised)
        return judge_call(kernel, case, seed, read(file))

    def _request(self, do: str, kernel: Kernel, seed: int) -> dict[str, Any]:
        return {"do": do, "kernel": kernel.name, "seed": seed, "device": self._options.device}

    def _correctness(self, kernel: Kernel, results: Sequence[CaseResult], not_run: int) -> Gate:
        broken = broken_calls(kernel) if self._candidate == OWN else (0, 0)
        if wrong := refused_cases(results):
            return Gate("refused", wrong + (f"; {not_run} cases not run" if not_run else ""))
        if broken[0] != broken[1]:
            return Gate("refused", f"KERNEL-CONTRACT: {broken[0]} of {broken[1]} broken calls are refused")
        if not any(result.judged.num_elements for result in results):
            return Gate("not run", "no case had anything to judge")
        contract = f", {broken[0]} broken calls refused" if broken[1] else ""
        return Gate("passed", f"{len(results)} cases{contract}")

    def _time(self, kernel: Kernel) -> tuple[Gate, dict[str, Any]]:
        assert self._worker is not None
        request = self._request("time", kernel, 0) | {"seconds": self._options.measure_s}
        try:
            limit = self._options.limits.call_s + 4 * self._options.measure_s
            answer = self._worker.ask(request, limit)
        except GoneError as gone:
            self.end()
            return Gate("refused", f"{gone.rule}: {gone}"), {}
        if "raised" in answer:
            return Gate("refused", f"KERNEL-RAISED: {answer['raised']}: {answer['sentence']}"), {}
        least = self._options.least_speedup
        said = f"{answer['speedup']:.2f} times plain torch"
        if answer["speedup"] < least:
            return Gate("refused", f"KERNEL-SLOW: {said}, {least:g} were asked for"), answer
        return Gate("passed", said), answer


def built(worker: Worker, candidate: str, options: GateOptions) -> Gate:
    """Return the first gate: whether a process can load a candidate.

    Raises:
        UsageError, EnvironmentProblemError: The candidate is not there, or what it needs is not.
    """
    limits = options.limits
    request = {
        "do": "build",
        "candidate": candidate,
        "compiled": options.compiled,
        "seconds": limits.build_s,
        "memory_mib": limits.memory_mib if options.device == "cpu" else 0,
    }
    try:
        answer = worker.ask(request, limits.build_s + 60.0)
    except GoneError as gone:
        return Gate("refused", f"{gone.rule}: {gone}")
    if "problem" in answer:
        problem = EnvironmentProblemError if answer["exit_code"] == 3 else UsageError
        raise problem(str(answer["problem"]))
    if "refused" in answer:
        return Gate("refused", f"KERNEL-BUILD: {answer['refused']}")
    return Gate("passed", candidate)


def refused_cases(results: Sequence[CaseResult]) -> str:
    """Return how many cases were refused, and the first refusal; empty where none was."""
    wrong = [result for result in results if not result.passed]
    if not wrong:
        return ""
    first = wrong[0].judged.refusals[0]
    return f"{len(wrong)} of {len(results)} cases: {first.rule} in {wrong[0].case}: {first.message}"


def broken_calls(kernel: Kernel) -> tuple[int, int]:
    """Return how many of the operator's broken calls its contract refuses by the right rule, of how many."""
    from workbench.npu.operators import OPERATORS

    calls = {rule: build for rule, (operator, build) in BROKEN.items() if operator == kernel.operator}
    refused = 0
    for rule, build in calls.items():
        try:
            with use_capabilities(["tree_mask_gqa"] if rule in TREE_BROKEN else []):
                OPERATORS[kernel.operator].check(**build())
        except ContractError as error:
            refused += error.rule == rule
    return refused, len(calls)
