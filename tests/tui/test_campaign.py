"""A campaign on the screen: from a cause or a cell of the axes to its cases, down to the cell of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.campaign.fakes import outcome_of
from tests.tui.conftest import CELL
from workbench.campaign.browse import BrowsedCampaign, padded
from workbench.campaign.ledger import Ledger
from workbench.campaign.plan import PlanRequest, make_plan, write_plan
from workbench.tui.campaign import campaign_app
from workbench.tui.picture import at_rest
from workbench.tui.screens.campaign import CampaignScreen
from workbench.tui.screens.run import RunScreen
from workbench.tui.widgets.line_view import LineView
from workbench.view.lines import line_text
from workbench.view.width import cell_width


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory, faulty: Path) -> Path:
    """Twelve cases, a fault in eight; the first of them has the trace of a real finding."""
    folder = tmp_path_factory.mktemp("campaign") / "nightly"
    request = PlanRequest(suite="code", over="dtype=float32,bfloat16", faults=("leak", "scale"), cases=12)
    plan = make_plan(request)
    write_plan(plan, folder)
    ledger = Ledger(folder, "w0")
    for case in plan.cases[:11]:
        told = outcome_of(case, run="runs/000001-0" if case.number == 1 else None)
        for finding in told["findings"]:
            finding |= {"prompt_id": 0, "step": 5, "stage": "verify", "node": CELL[0]}
        ledger.add(told)
    (folder / "runs").mkdir()
    (folder / "runs" / "000001-0").symlink_to(faulty)
    return folder


def played(folder: Path, keys: Sequence[str], size: tuple[int, int] = (120, 30)) -> tuple[str, list[str]]:
    """Press keys; return the kind of the screen at the end, and titles and lines of the campaign's lists."""

    async def play() -> tuple[str, list[str]]:
        app = campaign_app(folder)
        async with app.run_test(size=size) as pilot:
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            if isinstance(app.screen, RunScreen):
                await at_rest(app)
                return "run", [str(app.screen.model.step.moment) if app.screen.model.step else ""]
            assert isinstance(app.screen, CampaignScreen)
            lists = list(app.screen.query(LineView))
            lines = [
                line_text(each.content_line(number)) for each in lists for number in range(each.num_lines)
            ]
            return "campaign", [*(str(each.border_title) for each in lists), *lines]

    return asyncio.run(play())


def test_causes_map_and_cases_are_shown(campaign: Path) -> None:
    kind, shown = played(campaign, [])
    assert kind == "campaign"
    assert shown[:3] == ["causes", "findings: dtype by fault (1 of 1)", "all cases: 12 cases"]
    assert sum("MASK001" in line and "only" not in line for line in shown[3:5]) == 2
    assert any(line.startswith("     3 ") and "ok" in line for line in shown)
    assert any("missing" in line for line in shown)


def test_a_cause_leads_to_its_cases_and_on_to_the_run(campaign: Path) -> None:
    _, shown = played(campaign, ["enter"])
    assert shown[2] == "cases of the cause, the smallest first: 4 cases"
    kind, shown = played(campaign, ["enter", "enter"])
    assert kind == "run"
    assert shown == ["0:0:5"]
    assert played(campaign, ["enter", "enter", "q"])[0] == "campaign"


def test_a_cell_of_the_map_leads_to_its_cases(campaign: Path) -> None:
    _, shown = played(campaign, ["tab", "right", "down", "enter"])
    assert shown[2].startswith("cases of the cell: 2 cases")
    assert sum("fault leak" in line for line in shown if "code-" in line) == 2
    _, shown = played(campaign, ["tab", "enter", "a", "p"])
    assert shown[2] == "all cases: 12 cases"


def test_a_case_without_a_trace_says_so(campaign: Path) -> None:
    kind, _ = played(campaign, ["tab", "tab", "enter"])  # the first case is clean and was not kept
    assert kind == "campaign"


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (200, 50)])
def test_it_fits_every_terminal(campaign: Path, size: tuple[int, int]) -> None:
    assert played(campaign, ["tab", "left", "G", "enter"], size)[0] == "campaign"


def test_a_plan_without_axes_and_outcomes_is_shown(tmp_path: Path) -> None:
    write_plan(make_plan(PlanRequest(suite="code", cases=2)), tmp_path / "bare")
    _, shown = played(tmp_path / "bare", ["p", "enter", "tab", "enter"])
    assert shown[:2] == ["causes", "axes"]
    assert BrowsedCampaign.read(tmp_path / "bare").pairs == []


def test_texts_fit_their_cells() -> None:
    assert [padded(text, 6) for text in ("ab", "abcdef", "表表表表")] == ["ab    ", "abcd… ", "表表… "]
    assert all(cell_width(padded(text, 6)) == 6 for text in ("", "abcdefgh", "表表表表"))
