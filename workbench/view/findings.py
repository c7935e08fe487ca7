"""What was found: the step's findings with both values and the rule's own documentation, then the run's."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tracing.finding import Finding
from workbench.view.condition import nothing_found_in_step
from workbench.view.counted import counted
from workbench.view.lines import Line, Lines, Role, Span, note, wrapped
from workbench.view.panel import Panel
from workbench.view.rule_index import rule_index
from workbench.view.safe_text import safe_text
from workbench.view.source_frames import frame_lines
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import FindingTarget

MAX_TEXT: Final = 4000
MAX_LISTED: Final = 200
STEM: Final = 14
"""Cells before a value."""


def findings_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the findings of the step with the documentation of their rules, then a list of the run's."""
    lines: list[Line] = []
    if not step.findings:
        verdicts = [side.get("step_verdict") for side in step.sides]
        lines += wrapped(note(nothing_found_in_step(step.moment, verdicts)), options.width, 0)
    causes = [each for each in step.findings if not each[1].consequence] or list(step.findings[:1])
    if len(step.findings) > 1:
        lines += [finding_row(number, finding, step.owner(number)) for number, finding in causes]
        lines += [*_consequences([each for each in step.findings if each not in causes]), note("")]
    explained: set[str] = set()
    for number, finding in causes:
        lines += [finding_row(number, finding, step.owner(number)), *_detail(finding, options.width)]
        if finding.rule and finding.rule not in explained:
            lines += rule_lines(finding.rule, options.width)
            explained.add(finding.rule)
        lines.append(note(""))
    return [*lines, *_elsewhere(step, options.width)]


def _consequences(findings: Sequence[tuple[int, Finding]]) -> list[Line]:
    """Count possible consequences in one line, rule by rule; each rule leads to its first one."""
    if not findings:
        return []
    first: dict[str, tuple[int, Finding]] = {}
    for each in findings:
        first.setdefault(each[1].rule, each)
    counts = Counter(finding.rule for _, finding in findings)
    noun = "possible consequence" if len(findings) == 1 else "possible consequences"
    spans = [Span("c ", "warn"), Span(f"and {len(findings)} {noun}:", "dim")]
    for rule, (number, finding) in first.items():
        spans.append(Span(f" {safe_text(rule)}", "accent", FindingTarget(finding.moment, number)))
        spans.append(Span(f" {counts[rule]}", "dim"))
    return [tuple(spans)]


def _elsewhere(step: StepView, width: int) -> list[Line]:
    """List the first findings of the run, to go to."""
    total = len(step.all_findings)
    if not total:
        return wrapped(note(step.judged.text, "good" if step.judged.is_good else "dim"), width, 2)
    if total <= len(step.findings):
        return []
    lines = [note(f"in the whole run: {counted(total, 'finding')}", "title")]
    lines += [
        finding_row(number, finding, step.owner(number))
        for number, finding in enumerate(step.all_findings[:MAX_LISTED])
    ]
    if total > MAX_LISTED:
        lines.append(note(f"  and {total - MAX_LISTED} more"))
    return lines


def finding_row(number: int, finding: Finding, owner: str) -> Line:
    """Return one finding as one line."""
    role: Role = "warn" if finding.severity == "warning" or finding.consequence else "bad"
    mark = "w" if finding.severity == "warning" else "c" if finding.consequence else "!"
    return (
        Span(f"{mark} ", role),
        Span(str(finding.moment), role, FindingTarget(finding.moment, number)),
        Span(f" {safe_text(finding.rule)} ", "accent"),
        Span(safe_text(finding.message)[:MAX_TEXT]),
        Span(f" [{owner}]" if owner else "", "accent"),
        Span(" (consequence)" if finding.consequence else "", "dim"),
    )


def rule_lines(rule_id: str, width: int) -> list[Line]:
    """Return the documentation of a rule, wherever it is defined."""
    entry = rule_index().get(rule_id)
    if entry is None:
        return [note(f"  {safe_text(rule_id)}: this specwb has no documentation of that rule")]
    text = f"{entry.summary}\n\n{entry.body}"
    return [(Span(f"  {entry.title}", "title"),), *_wrapped(text, width)]


def _detail(finding: Finding, width: int) -> list[Line]:
    facts = [
        ("what", finding.message),
        ("instead", finding.explanation),
        ("verdict", f"{finding.verdict}, guilty {finding.guilty}"),
        ("request", finding.request),
        ("column", finding.column),
        ("fused", finding.fused),
        ("expected", finding.reference),
        ("gap", finding.gap),
        ("allowance", finding.allowance),
        ("path", finding.path),
    ]
    lines: list[Line] = []
    for name, value in facts:
        if value is not None and value != "":
            shown = textwrap.wrap(safe_text(str(value))[:MAX_TEXT], max(20, width - STEM)) or [""]
            lines.append((Span(f"    {name:<10}", "dim"), Span(shown[0])))
            lines += [note(" " * STEM + more, "plain") for more in shown[1:]]
    return [*lines, *frame_lines(finding, STEM)]


def _wrapped(text: str, width: int) -> list[Line]:
    """Return documentation in paragraphs, its Markdown headings as plain ones."""
    lines: list[Line] = []
    indent = " " * 4
    for block in text.split("\n\n"):
        if block.startswith("## "):
            lines.append(note(f"    {block.removeprefix('## ')}", "accent"))
            indent = " " * 6
            continue
        joined = safe_text(" ".join(block.split()))
        lines += [
            note(indent + each, "plain") for each in textwrap.wrap(joined, max(20, width - len(indent)))
        ]
    return lines


PANEL: Final = Panel(
    "findings", "f", "what was found in this step, and what the rule says", findings_lines, short="find"
)
