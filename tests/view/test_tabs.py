"""The row of tabs fits its room, names the active panel, and marks where the step has findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.view.traces import finding, write_run
from workbench.view.panels import PANELS
from workbench.view.run_view import RunView
from workbench.view.tabs import panels_shown_for, panels_with_findings, row_width, tabs

ALL = frozenset(panel.name for panel in PANELS)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_row_fits_and_names_the_active_panel(width: int) -> None:
    row = tabs(ALL, frozenset({"logits"}), "acceptance", width)
    assert row_width(row) <= width
    assert [tab.key for tab in row] == [panel.key for panel in PANELS]
    assert next(tab.name for tab in row if tab.panel == "acceptance")
    assert next(tab.name for tab in row if tab.panel == "logits").endswith("!")


def test_a_panel_without_anything_to_show_has_no_tab_until_it_is_opened() -> None:
    some = ALL - {"distance"}
    assert "distance" not in {tab.panel for tab in tabs(some, frozenset(), "tree", 200)}
    assert "distance" in {tab.panel for tab in tabs(some, frozenset(), "distance", 200)}


def test_tabs_are_marked_by_the_findings_of_the_step(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 2, findings=(finding(1, "parents", node=2),)))
    assert panels_with_findings(view.step(0)) == frozenset()
    assert panels_with_findings(view.step(1)) == {"tree"}
    assert {"tree", "rules"} <= panels_shown_for(view.step(0))
