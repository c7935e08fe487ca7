"""Reports of the gates as text and plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from workbench.kernels.call import CaseResult
from workbench.kernels.reports import Gate, KernelReport
from workbench.kernels.scores import KernelScores, sampled, scores
from workbench.view.safe_text import safe_text

SHOWN: Final = 6
"""Refused cases of an operator that are listed."""


def report_lines(reports: Sequence[KernelReport]) -> Iterator[str]:
    """Yield one block for each operator, then the scores of each candidate."""
    width = max((len(report.kernel) for report in reports), default=0)
    for report in reports:
        yield safe_text(f"{report.kernel:<{width}}  {_marks(report)}  {_tail(report)}")
        if report.correctness.status == "refused":
            yield from _refusals(report.results)
        elif report.build.status == "refused":
            yield safe_text(f"    {report.build.message}")
    for candidate in dict.fromkeys(report.candidate for report in reports):
        own = [report for report in reports if report.candidate == candidate]
        ours, public = scores(own, published=False), scores(own, published=True)
        yield safe_text(
            f"score {candidate}: {_score(ours)} by our judge, {_score(public)} by the published rules"
        )
    for kernel, chances in sampled(reports).items():
        yield f"{kernel}: " + ", ".join(f"{name} {chance:.2f}" for name, chance in chances.items())


def _marks(report: KernelReport) -> str:
    gates = {"build": report.build, "correct": report.correctness, "measured": report.performance}
    signs = {"passed": "ok", "refused": "NO", "not run": "--"}
    return "  ".join(f"{name} {signs[gate.status]}" for name, gate in gates.items())


def _tail(report: KernelReport) -> str:
    """What the last gate that was reached says."""
    gates = (report.performance, report.correctness, report.build)
    last: Gate = next((gate for gate in gates if gate.status != "not run" or gate.message), report.build)
    parts = [report.correctness.message] if last is report.performance else []
    parts.append(last.message)
    if report.timing:
        time = report.timing
        parts.append(f"{time['seconds'] * 1e6:.0f} us")
        if "bandwidth_share" in time:
            parts.append(
                f"{time['bytes_read'] + time['bytes_written']:,} bytes, {time['bandwidth_share']:.0%} of "
                f"bandwidth, {time['arithmetic_share']:.0%} of arithmetic"
            )
    loose = sum(result.judged.num_open for result in report.results)
    if loose:
        parts.append(f"{loose} elements not judged: the reference itself fails there")
    unstable = sum(not result.repeats for result in report.results)
    if unstable:
        parts.append(f"{unstable} cases differ bit by bit when repeated")
    return "; ".join(part for part in parts if part)


def _refusals(results: Sequence[CaseResult]) -> Iterator[str]:
    """Yield the first refusal of some of the refused cases."""
    wrong = [result for result in results if not result.passed]
    for result in wrong[:SHOWN]:
        first = result.judged.refusals[0]
        public = "no verdict" if result.published is None else _verdict(result)
        yield safe_text(f"    {first.rule:<17} {result.case}: {first.message} [published rule: {public}]")
    if len(wrong) > SHOWN:
        yield f"    and {len(wrong) - SHOWN} more cases"


def _verdict(result: CaseResult) -> str:
    assert result.published is not None
    if result.published.raises:
        return f"raises {result.published.raises}"
    return "passes it" if result.published.passed else "refuses it"


def _score(score: KernelScores) -> str:
    levels = ", ".join(f"level {level} {value:.1f}" for level, value in score.by_level.items())
    return f"{score.final:.1f} ({levels})"


def as_json(reports: Sequence[KernelReport]) -> dict[str, Any]:
    """Return everything as plain data."""
    candidates = dict.fromkeys(report.candidate for report in reports)
    own = {one: [report for report in reports if report.candidate == one] for one in candidates}
    return {
        "operators": [_report_json(report) for report in reports],
        "scores": {
            one: {
                "ours": scores(each, published=False).as_json(),
                "published": scores(each, published=True).as_json(),
            }
            for one, each in own.items()
        },
        "pass_at_k": sampled(reports),
    }


def _report_json(report: KernelReport) -> dict[str, Any]:
    gates = {"build": report.build, "correctness": report.correctness, "performance": report.performance}
    return {
        "operator": report.kernel,
        "level": report.level,
        "candidate": report.candidate,
        **{name: {"status": gate.status, "message": gate.message} for name, gate in gates.items()},
        "cases": [_case_json(result) for result in report.results],
        "timing": dict(report.timing),
    }


def _case_json(result: CaseResult) -> dict[str, Any]:
    public = result.published
    return {
        "case": result.case,
        "values": result.values,
        "passed": result.passed,
        "refusals": [
            {"rule": one.rule, "output": one.output, "message": one.message} for one in result.judged.refusals
        ],
        "elements": result.judged.num_elements,
        "open": result.judged.num_open,
        "allowance_used": result.judged.used,
        "repeats": result.repeats,
        "published": None if public is None else {"passed": public.passed, "raises": public.raises},
    }


def exit_code(reports: Sequence[KernelReport]) -> int:
    """Return 1 where a gate refused, 4 where a gate before the last one was not reached, else 0."""
    if any(report.refused for report in reports):
        return 1
    judged = all(report.correctness.status == "passed" for report in reports)
    return 0 if judged and reports else 4
