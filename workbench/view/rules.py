"""What the invariants say of the step on the screen: violated, not checked and why, held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from invariants.context import RunContext
from invariants.outcome import Held, NotChecked, Outcome, Violated
from invariants.run import check_step
from tracing.errors import SpecwbError
from tracing.finding import Finding
from workbench.judge.recorded.context import read_context
from workbench.view.counted import counted
from workbench.view.lines import Line, Lines, Span, note, wrapped
from workbench.view.rule_index import rule_index
from workbench.view.safe_text import safe_text
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import CellTarget, NodeTarget, Target

INDENT: Final = 4
"""Cells before what of a sentence does not fit on its line."""


def rule_outcomes(step: StepView) -> tuple[list[Outcome], str]:
    """Judge the left side by every step and turn rule.

    Returns:
        Outcomes, and why the run's limits are not known, where its manifest is damaged.
    """
    context, problem = _context(step.manifest)
    side = step.left
    first = side.row if side.get("step") == 0 else None
    outcomes = check_step(side.row, previous=step.previous, first=first, context=context, path=side.label)
    return list(outcomes), problem


def rules_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw what was violated first, then what was not checked, then what held."""
    if step.left.absent:
        return [note(step.left.why_not("columns"), "warn")]
    outcomes, problem = rule_outcomes(step)
    held = [each.rule for each in outcomes if isinstance(each, Held)]
    violated = [finding for each in outcomes if isinstance(each, Violated) for finding in each.findings]
    reasons: dict[str, list[str]] = {}
    for each in outcomes:
        if isinstance(each, NotChecked):
            reasons.setdefault(each.reason, []).append(each.rule)
    lines: list[Line] = [
        (
            Span(f"{step.left.label}: "),
            Span(counted(len(violated), "violation"), "bad" if violated else "good"),
            Span(f", {counted(len(held), 'rule')} held, {sum(map(len, reasons.values()))} not checked"),
        )
    ]
    if problem:
        lines.append(note(f"limits of the run are not known: {problem}", "warn"))
    lines += [piece for each in violated for piece in wrapped(_violation(each), options.width, INDENT)]
    if options.differences_only:
        return lines
    for reason, ids in sorted(reasons.items(), key=lambda each: -len(each[1])):
        shown = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
        line = (Span("? ", "warn"), Span(shown, "accent"), Span(f" {safe_text(reason)}", "dim"))
        lines += wrapped(line, options.width, INDENT)
    lines += [
        (Span("  held ", "good"), Span(rule, "accent"), Span(f" {_name(rule)}", "dim")) for rule in held
    ]
    return lines


def _name(rule_id: str) -> str:
    return rule_index()[rule_id].name


def _violation(finding: Finding) -> Line:
    target: Target | None = None if finding.moment.node is None else NodeTarget(finding.moment.node)
    if finding.moment.node is not None and finding.column == "visible" and isinstance(finding.fused, int):
        target = CellTarget(finding.moment.node, finding.fused)
    return (
        Span("! ", "bad"),
        Span(finding.rule, "accent", target),
        Span(f" {_name(finding.rule)}: ", "dim"),
        Span(safe_text(finding.message), "bad"),
    )


def _context(manifest: Mapping[str, Any]) -> tuple[RunContext, str]:
    """Return what the manifest says of the run, and why it says nothing where it is damaged."""
    try:
        return read_context(manifest), ""
    except SpecwbError as problem:
        return RunContext(), str(problem)
