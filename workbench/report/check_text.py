"""`specwb check` for a person and for grep: one line per finding, then a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from invariants.catalogue import BY_ID
from tracing.finding import Finding
from workbench.judge.recorded.checked import CheckedPath, CheckedRun
from workbench.judge.recorded.pairs import Compared
from workbench.report.text import consequences_line, finding_line
from workbench.view.safe_text import safe_line, safe_text

MAX_REASONS = 8
MAX_WARNINGS = 6
"""Warnings of a rule that are listed one by one."""


def render_checks(runs: Sequence[CheckedRun]) -> str:
    """Return findings and summary of each run, safe for any terminal."""
    lines = [line for run in runs for line in _run(run, name_run=len(runs) > 1)]
    return "\n".join(map(safe_line, lines)) + "\n"


def _run(run: CheckedRun, *, name_run: bool) -> Iterator[str]:
    where = f"{safe_text(str(run.folder))} " if name_run else ""
    yield from (f"{where}{line}" for line in _own_lines(run.findings))
    following = consequences_line(run.findings)
    if following:
        yield f"{where}{following}"
    remark = f" ({run.remark})" if run.remark else ""
    yield f"verdict     {run.verdict}{remark}"
    for warning in run.warnings:
        yield f"warning     {safe_text(warning)}"
    for problem in run.problems:
        yield f"trace       {safe_text(problem)}"
    for path in run.paths:
        yield from _path(path)
    if run.compared is not None:
        yield f"compared    {comparison(run.compared)}"
    yield f"run         {safe_text(str(run.folder))} ({run.state}{_status(run)})"


def _own_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each error that is no consequence, then the first warnings of each rule."""
    own = [finding for finding in findings if not finding.consequence]
    yield from (finding_line(finding) for finding in own if finding.severity != "warning")
    seen: Counter[str] = Counter()
    for finding in own:
        if finding.severity == "warning":
            seen[finding.rule] += 1
            if seen[finding.rule] <= MAX_WARNINGS:
                yield f"{finding_line(finding)} (warning)"
    rest = {rule: count - MAX_WARNINGS for rule, count in seen.items() if count > MAX_WARNINGS}
    if rest:
        listed = ", ".join(f"{rule} {count}" for rule, count in rest.items())
        yield f"and {_number(sum(rest.values()), 'more warning')}: {listed} (--format json lists them)"


def _status(run: CheckedRun) -> str:
    return f", {run.status}" if run.status not in {"", "complete"} else ""


def _path(path: CheckedPath) -> Iterator[str]:
    held = sum(counts.held > 0 and not counts.violated for counts in path.counts.values())
    violated = sum(counts.violated > 0 for counts in path.counts.values())
    rest = len(path.counts) - held - violated
    yield (
        f"{safe_text(path.name):<11} {path.num_steps} steps; invariants: {held} held, {violated} violated, "
        f"{rest} not checked"
    )
    for moment in path.in_progress:
        yield f"  unfinished {moment}: the writer ended here"
    for rule_id, counts in path.counts.items():
        if counts.violated:
            yield f"  {rule_id} {BY_ID[rule_id].name}: {violations(path, rule_id)}"
    yield from _not_checked(path)


def violations(path: CheckedPath, rule_id: str) -> str:
    """Return how often a rule was violated and where first, as one clause."""
    counts, first = path.counts[rule_id], path.first(rule_id)
    site = f", first at {first.moment}" if first else ""
    return f"{_number(counts.num_findings, 'finding')} in {_number(counts.violated, 'step')}{site}"


def comparison(compared: Compared) -> str:
    """Return what comparing the paths gave, or why it was not done, as one clause."""
    if compared.reason:
        return f"not: {compared.reason}"
    steps = _number(compared.num_steps, "step")
    found = _number(compared.num_findings, "finding")
    return f"{steps} of both paths, {found} in {_number(compared.num_differing, 'step')}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _not_checked(path: CheckedPath) -> Iterator[str]:
    """Name rules that never looked at anything, joined by their reason."""
    rules: dict[str, list[str]] = {}
    for rule_id, counts in path.counts.items():
        if not counts.held and not counts.violated:
            rules.setdefault(counts.main_reason, []).append(rule_id)
    for reason, names in list(rules.items())[:MAX_REASONS]:
        yield f"  not checked {', '.join(names)}: {safe_text(reason)}"
    if len(rules) > MAX_REASONS:
        yield f"  not checked for other reasons: {len(rules) - MAX_REASONS} (--format json lists them)"
