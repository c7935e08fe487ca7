"""What the invariants say of the step on the screen: violated, not checked and why, held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invariants.context import RunContext
from invariants.outcome import Held, NotChecked, Violated
from invariants.run import check_step
from tracing.errors import SpecwbError
from tracing.finding import Finding
from workbench.judge.recorded.context import read_context
from workbench.view.lines import Line, Lines, Span, note
from workbench.view.rule_index import rule_index
from workbench.view.safe_text import safe_text
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import CellTarget, NodeTarget, Target


@dataclass(frozen=True, slots=True)
class RulesPanel:
    """Outcomes on the left side.

    Attributes:
        held: Ids of rules that looked and found nothing.
        violated: What the others found.
        not_checked: Id and reason of rules that could not look.
        problem: Why the run's limits are not known, where its manifest is damaged.
    """

    held: tuple[str, ...]
    violated: tuple[Finding, ...]
    not_checked: tuple[tuple[str, str], ...]
    problem: str = ""


def rules_panel(step: StepView) -> RulesPanel:
    """Judge the left side by every step and turn rule."""
    context, problem = _context(step.manifest)
    first = step.left.row if step.left.get("step") == 0 else None
    outcomes = check_step(
        step.left.row, previous=step.previous, first=first, context=context, path=step.left.label
    )
    return RulesPanel(
        tuple(each.rule for each in outcomes if isinstance(each, Held)),
        tuple(finding for each in outcomes if isinstance(each, Violated) for finding in each.findings),
        tuple((each.rule, each.reason) for each in outcomes if isinstance(each, NotChecked)),
        problem,
    )


def rules_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw what was violated first, then what was not checked, then what held."""
    if step.left.absent:
        return [note(step.left.why_not("columns"), "warn")]
    panel = rules_panel(step)
    held, violated, other = len(panel.held), len(panel.violated), len(panel.not_checked)
    lines: list[Line] = [
        (
            Span(f"{step.left.label}: "),
            Span(f"{violated} violations", "bad" if violated else "good"),
            Span(f", {held} rules held, {other} not checked"),
        )
    ]
    if panel.problem:
        lines.append(note(f"limits of the run are not known: {panel.problem}", "warn"))
    lines += [_violation(finding) for finding in panel.violated]
    if options.differences_only:
        return lines
    for reason, count in Counter(reason for _, reason in panel.not_checked).most_common():
        ids = [rule for rule, said in panel.not_checked if said == reason]
        shown = ", ".join(ids[:4]) + (f" and {count - 4} more" if count > 4 else "")
        lines.append((Span("? ", "warn"), Span(shown, "accent"), Span(f" {safe_text(reason)}", "dim")))
    lines += [
        (Span("  held ", "good"), Span(rule, "accent"), Span(f" {_name(rule)}", "dim")) for rule in panel.held
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
