"""Every panel of a step, in the order in which a person reads a step."""

from __future__ import annotations

from typing import Final

from tracing.finding import Finding
from workbench.view import (
    acceptance,
    batch,
    cache,
    chain,
    distance,
    experts,
    findings,
    logits,
    stages,
    tree,
    visible,
)
from workbench.view.lines import Lines
from workbench.view.panel import Panel
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import Target


def _rules_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the rules; all of them are imported when they are first asked for, not when the screen opens."""
    from workbench.view.rules import rules_lines

    return rules_lines(step, options)


PANELS: Final[tuple[Panel, ...]] = (
    findings.PANEL,
    tree.PANEL,
    visible.PANEL,
    logits.PANEL,
    acceptance.PANEL,
    cache.PANEL,
    chain.PANEL,
    distance.PANEL,
    experts.PANEL,
    stages.PANEL,
    batch.PANEL,
    Panel("rules", "i", "what the invariants say of this step, judged now", _rules_lines),
)

PANEL_BY_NAME: Final = {panel.name: panel for panel in PANELS}


def panel_for(column: str) -> str:
    """Return the panel that shows a column; findings for a quantity that no panel shows."""
    return next((panel.name for panel in PANELS if column in panel.columns), "findings")


def panel_of_stage(stage: str) -> str:
    """Return the panel that a moment of a stage opens, empty for a moment without a stage."""
    return next((panel.name for panel in PANELS if stage in panel.stages), "")


def target_of(finding: Finding, step: StepView) -> Target | None:
    """Return what a finding points to: the wrong cell of the grid, a position, or its node."""
    return PANEL_BY_NAME[panel_for(finding.column)].point(finding, step)
