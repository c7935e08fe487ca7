"""The row of tabs: every panel with its key, those on the screen marked, and where the step has findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.view.panel import Panel
from workbench.view.panels import PANELS, panel_for
from workbench.view.step import StepView
from workbench.view.width import cell_width


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab.

    Attributes:
        panel: Name of its panel.
        key: The key that opens it.
        name: The panel's name as there is room for it, empty where there is none; it ends with a `!` where a
            finding of the step is about the panel.
    """

    panel: str
    key: str
    name: str


def tabs(known: Iterable[str], wrong: frozenset[str], active: str, width: int) -> list[Tab]:
    """Return the tabs in the order of the panels, with the longest names that fit.

    Args:
        known: Panels that have something to show in this run.
        wrong: Panels that findings of the step are about.
        active: The panel that has the attention; its tab is always there, with its name.
        width: Cells of the row.
    """
    wanted = {*known, active, *wrong}
    panels = [panel for panel in PANELS if panel.name in wanted]
    rows = [_row(panels, names, wrong) for names in (_full(panels), _short(panels), _short(panels, active))]
    return next((row for row in rows if row_width(row) <= width), rows[-1])


def _row(panels: Sequence[Panel], names: Sequence[str], wrong: frozenset[str]) -> list[Tab]:
    return [
        Tab(panel.name, panel.key, name + "!" * (panel.name in wrong))
        for panel, name in zip(panels, names, strict=True)
    ]


def row_width(row: Sequence[Tab]) -> int:
    """Return the cells of a row of tabs: a space before each and one between key and name."""
    return sum(1 + cell_width(tab.key) + bool(tab.name) + cell_width(tab.name) for tab in row)


def panels_with_findings(step: StepView | None) -> frozenset[str]:
    """Return the panels that findings of a step are about; the list of findings has no mark of its own."""
    found = () if step is None else step.findings
    return frozenset(panel_for(finding.column) for _, finding in found) - {"findings"}


def panels_shown_for(step: StepView) -> frozenset[str]:
    """Return the panels that have something to show in a step."""
    return frozenset(panel.name for panel in PANELS if panel.shown_for(step))


def _full(panels: Sequence[Panel]) -> list[str]:
    return [panel.name for panel in panels]


def _short(panels: Sequence[Panel], only: str = "") -> list[str]:
    """Return short names, of all panels or of one."""
    return [panel.short or panel.name if only in {"", panel.name} else "" for panel in panels]
