"""`specwb check` for a person and for grep: one line per finding, then a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from invariants.catalogue import BY_ID
from tracing.finding import Finding
from workbench.judge.recorded.checked import CheckedPath, CheckedRun
from workbench.judge.recorded.pairs import Compared
from workbench.report.text import WHY, Detail, consequences_line, finding_line
from workbench.view.counted import counted
from workbench.view.safe_text import safe_line, safe_text

MAX_CONTEXTS = 5
"""Findings of a run whose cells are shown."""
MAX_WARNINGS = 6
"""Warnings of a rule that are listed one by one."""


Context = Callable[[CheckedRun, Finding], Sequence[str]]
"""Returns the cells around a finding as lines; see `workbench.view.context`."""


def render_checks(
    runs: Sequence[CheckedRun],
    detail: Detail = "usual",
    context: Context = lambda _run, _finding: (),
    *,
    statistics: bool = False,
) -> str:
    """Return findings and summary of each run, safe for any terminal.

    Args:
        runs: Runs that were checked.
        detail: How much is said of each.
        context: What is shown below a finding.
        statistics: Whether a table counts the findings of all runs by rule, in place of the findings.
    """
    if statistics:
        lines = list(_statistics(runs))
    else:
        lines = [line for run in runs for line in _run(run, detail, context, name_run=len(runs) > 1)]
    return "".join(f"{safe_line(line)}\n" for line in lines)


def _statistics(runs: Sequence[CheckedRun]) -> Iterator[str]:
    """Yield a line per rule that was violated: findings, steps, id and name; most findings first."""
    findings: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    for path in (path for run in runs for path in run.paths):
        for rule_id, counts in path.counts.items():
            findings[rule_id] += counts.num_findings
            steps[rule_id] += counts.violated
    for rule_id, count in findings.most_common():
        if count:
            where = counted(steps[rule_id], "step")
            yield f"{count:>8}  {rule_id} {BY_ID[rule_id].name}, in {where}"


def _run(run: CheckedRun, detail: Detail, context: Context, *, name_run: bool) -> Iterator[str]:
    where = f"{safe_text(str(run.folder))} " if name_run else ""
    yield from (f"{where}{line}" for line in _own_lines(run, context))
    following = consequences_line(run.findings)
    if following:
        yield f"{where}{following}"
    if detail != "short":
        yield from _summary(run, detail)


def _summary(run: CheckedRun, detail: Detail) -> Iterator[str]:
    remark = f" ({run.remark})" if run.remark else ""
    yield f"verdict     {run.verdict}{remark}"
    for warning in run.warnings:
        yield f"warning     {safe_text(warning)}"
    for problem in run.problems:
        yield f"trace       {safe_text(problem)}"
    for path in run.paths:
        yield from _path(path, detail)
    if run.compared is not None:
        yield f"compared    {comparison(run.compared)}"
    damaged = "damaged, " if run.is_damaged else ""
    yield f"run         {safe_text(str(run.folder))} ({damaged}{run.state}{_status(run)})"


def _own_lines(run: CheckedRun, context: Context) -> Iterator[str]:
    """Yield a line for each error that is no consequence, then the first warnings of each rule."""
    own = [finding for finding in run.findings if not finding.consequence]
    for number, finding in enumerate(each for each in own if each.severity != "warning"):
        yield finding_line(finding)
        if number < MAX_CONTEXTS:
            yield from (f"    {line}" for line in context(run, finding))
    seen: Counter[str] = Counter()
    for finding in own:
        if finding.severity == "warning":
            seen[finding.rule] += 1
            if seen[finding.rule] <= MAX_WARNINGS:
                yield f"{finding_line(finding)} (warning)"
    rest = {rule: count - MAX_WARNINGS for rule, count in seen.items() if count > MAX_WARNINGS}
    if rest:
        listed = ", ".join(f"{rule} {count}" for rule, count in rest.items())
        yield f"and {counted(sum(rest.values()), 'more warning')}: {listed} (--format json lists them)"


def _status(run: CheckedRun) -> str:
    return f", {run.status}" if run.status not in {"", "complete"} else ""


def _path(path: CheckedPath, detail: Detail) -> Iterator[str]:
    held = sum(counts.held > 0 and not counts.violated for counts in path.counts.values())
    violated = sum(counts.violated > 0 for counts in path.counts.values())
    rest = len(path.counts) - held - violated
    why = WHY if rest and detail != "full" else ""
    yield (
        f"{safe_text(path.name):<11} {counted(path.num_steps, 'step')}; invariants: {held} held, "
        f"{violated} violated, {rest} not checked{why}"
    )
    for moment in path.in_progress:
        yield f"  unfinished {moment}: the writer ended here"
    for rule_id, counts in path.counts.items():
        if counts.violated:
            yield f"  {rule_id} {BY_ID[rule_id].name}: {violations(path, rule_id)}"
    if detail == "full":
        yield from _not_checked(path)


def violations(path: CheckedPath, rule_id: str) -> str:
    """Return how often a rule was violated and where first, as one clause."""
    counts, first = path.counts[rule_id], path.first(rule_id)
    site = f", first at {first.moment}" if first else ""
    return f"{counted(counts.num_findings, 'finding')} in {counted(counts.violated, 'step')}{site}"


def comparison(compared: Compared) -> str:
    """Return what comparing the paths gave, or why it was not done, as one clause."""
    if compared.reason:
        return f"not: {compared.reason}"
    steps = counted(compared.num_steps, "step")
    found = counted(compared.num_findings, "finding")
    return f"{steps} of both paths, {found} in {counted(compared.num_differing, 'step')}"


def _not_checked(path: CheckedPath) -> Iterator[str]:
    """Name rules that never looked at anything, joined by their reason."""
    rules: dict[str, list[str]] = {}
    for rule_id, counts in path.counts.items():
        if not counts.held and not counts.violated:
            rules.setdefault(counts.main_reason, []).append(rule_id)
    for reason, names in rules.items():
        yield f"  not checked {', '.join(names)}: {safe_text(reason)}"
