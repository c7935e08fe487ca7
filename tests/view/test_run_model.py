"""What the keys of the run screen do, without a terminal: a fake reader answers at once, or when told to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.view.traces import finding, leaked, write_run
from tracing.moment import Moment
from workbench.view.run_model import RunModel
from workbench.view.run_status import cursor_line, finding_line, status_text
from workbench.view.run_view import RunView
from workbench.view.search import Hit
from workbench.view.step import Sight
from workbench.view.targets import (
    CellTarget,
    FindingTarget,
    MomentTarget,
    NodeTarget,
    PositionTarget,
    SlotTarget,
    Target,
)

SMALL, LARGE = (80, 24), (200, 50)


class Asked:
    """Keeps what the model asks for; a step is drawn when `draw` is called."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self.steps: list[tuple[Sight, tuple[str, ...]]] = []
        self.others: list[tuple[object, ...]] = []

    def step(self, sight: Sight, panels: Iterable[str]) -> None:
        self.steps.append((sight, tuple(panels)))

    def move(self, row: int, unit: str, direction: int) -> None:
        self.others.append(("move", row, unit, direction))

    def locate(self, moment: Moment, panel: str = "", target: Target | None = None) -> None:
        self.others.append(("locate", self.view.row_of(moment), panel, target))

    def find(self, text: str, row: int, node: int | None, direction: int) -> None:
        self.others.append(("find", text, row, node, direction))

    def check(self, row: int) -> None:
        self.others.append(("check", row))

    def list_findings(self) -> None:
        self.others.append(("findings",))

    def count_distances(self) -> None:
        self.others.append(("distances",))

    def draw(self, model: RunModel) -> tuple[int, ...]:
        """Answer the last request for a step."""
        sight, panels = self.steps[-1]
        drawn = model.step_drawn(sight, self.view.step(sight.row), panels)
        model.settle()
        return drawn

    def answer(self, model: RunModel) -> None:
        """Answer the last request for a row, and draw it."""
        kind, row, panel, target = self.others.pop()
        assert kind == "locate"
        model.row_found(row, panel, target)  # type: ignore[arg-type]  # as `locate` above has put them there
        self.draw(model)


LEAK, CELL = leaked(step=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = (finding(3, node=CELL[0]), finding(4, "kv", node=None))
    return write_run(tmp_path_factory.mktemp("runs") / "run", 6, changes=LEAK, findings=found)


def opened(run: Path, size: tuple[int, int] = SMALL, *, follow: bool = False) -> tuple[RunModel, Asked]:
    view = RunView(run)
    asked = Asked(view)
    model = RunModel(view, asked, follow=follow)
    model.start(None)
    assert not asked.steps, "nothing is drawn before there is a size"
    model.resize(*size)
    asked.draw(model)
    model.take_effects()
    return model, asked


def test_a_panel_is_drawn_again_only_where_it_is_stale(run: Path) -> None:
    model, asked = opened(run, LARGE)
    assert asked.steps[-1][1] == ("tree", "visible", "acceptance", "findings")
    model.panel("visible")
    assert asked.steps[-1][1] == ()
    model.panel("logits")
    assert asked.steps[-1][1] == ("logits",)
    assert asked.draw(model) == (1,)
    model.differences()
    assert len(asked.steps[-1][1]) == 4


def test_a_step_that_comes_too_late_is_not_shown(run: Path) -> None:
    model, asked = opened(run)
    late = asked.steps[-1][0]
    model.move("step", 1)
    assert model.step_drawn(late, asked.view.step(late.row), ("tree",)) == ()
    assert (model.row, model.arrived) == (1, False)


def test_what_is_wanted_is_selected_only_when_its_panel_is_drawn(run: Path) -> None:
    """Catches a selection that is lost when an older drawing of the same step comes in between."""
    model, asked = opened(run)
    model.finding(1)
    kind, row, panel, target = asked.others.pop()
    assert (kind, row, panel) == ("locate", 3, "visible")
    assert isinstance(target, FindingTarget)
    model.row_found(3, "visible", target)
    sight, panels = asked.steps[-1]
    model.step_drawn(sight, asked.view.step(3), ())
    assert model.settle() is None
    model.step_drawn(sight, asked.view.step(3), panels)
    assert model.settle() == (0, CellTarget(*CELL))
    assert model.settle() is None


def test_effects_are_given_once(run: Path) -> None:
    model, asked = opened(run)
    model.panel("cache")
    effects = model.take_effects()
    assert (effects.focus, effects.scroll) == (True, False)
    model.move("step", 1)
    effects = model.take_effects()
    assert (effects.focus, effects.scroll) == (False, True)
    assert model.take_effects().scroll is False
    assert asked.steps[-1][0].row == 1


def test_history_leads_back_to_row_panel_and_target(run: Path) -> None:
    model, asked = opened(run)
    model.cursor(NodeTarget(2), None, 78)
    model.first_finding()
    asked.answer(model)
    assert (model.row, model.layout.active_slot.panel, model.found_number) == (3, "visible", 0)
    model.back()
    asked.draw(model)
    assert (model.row, model.layout.active_slot.panel, model.found_number) == (0, "tree", None)
    model.forward()
    assert model.row == 3
    model.forward()
    assert [each.text for each in model.take_effects().notifications] == ["nothing further forward"]


def test_moving_on_forgets_the_finding(run: Path) -> None:
    model, asked = opened(run)
    model.first_finding()
    asked.answer(model)
    assert finding_line(model)[0].text == "! 1 of 2: "
    model.move("step", 1)
    asked.draw(model)
    assert finding_line(model)[0].text == "! 1 in this step: "
    model.move("step", 9)
    assert model.row == 5
    model.move("step", -9)
    assert model.row == 0


@pytest.mark.parametrize(
    ("target", "panel", "expected"),
    [
        (CellTarget(4, 2), "visible", ("tree", NodeTarget(4))),
        (NodeTarget(1), "tree", ("cache", PositionTarget(21))),
        (NodeTarget(1), "cache", ("tree", NodeTarget(1))),
        (PositionTarget(21), "cache", ("tree", NodeTarget(1))),
    ],
)
def test_a_target_leads_on(run: Path, target: Target, panel: str, expected: tuple[str, Target]) -> None:
    model, asked = opened(run)
    model.panel(panel)
    asked.draw(model)
    model.follow_target(target)
    sight, panels = asked.steps[-1]
    model.step_drawn(sight, asked.view.step(sight.row), panels)
    assert (model.layout.active_slot.shown, model.settle()) == (expected[0], (0, expected[1]))


def test_a_slot_is_searched_backwards_and_n_repeats_the_search(run: Path) -> None:
    model, asked = opened(run)
    model.follow_target(SlotTarget(7))
    model.cursor(NodeTarget(3), None, 78)
    model.find_again(1)
    assert asked.others == [("find", "slot 7", 0, None, -1), ("find", "slot 7", 0, 3, 1)]
    model.search_ended("slot 7", None)
    model.search_ended("slot 7", Hit(2, SlotTarget(7), "cache"))
    assert [each.severity for each in model.take_effects().notifications] == ["warning"]
    assert (model.row, model.layout.active_slot.panel) == (2, "cache")


def test_checking_includes_the_first_step_alone(run: Path) -> None:
    model, asked = opened(run)
    model.check()
    model.move("step", 1)
    model.check()
    assert asked.others == [("check", -1), ("check", 1)]


def test_a_moment_opens_the_panel_of_its_stage(run: Path) -> None:
    model, asked = opened(run)
    model.locate_text("0:0:2:commit:1")
    assert asked.others.pop() == ("locate", 2, "cache", NodeTarget(1))
    model.locate_text("0:0:2")
    assert asked.others.pop() == ("locate", 2, "", None)
    model.locate_text(str(finding(3, node=CELL[0]).moment))
    assert asked.others.pop()[2] == "visible"
    model.locate_text("nonsense")
    assert model.take_effects().notifications[0].severity == "error"


def test_a_line_of_the_chain_leads_to_its_step(run: Path) -> None:
    model, asked = opened(run)
    model.panel("chain")
    asked.draw(model)
    model.follow_target(MomentTarget(Moment(0, 0, 2, "commit", 1)))
    assert asked.others.pop() == ("locate", 2, "cache", NodeTarget(1))


def test_the_active_slot_survives_a_smaller_screen(run: Path) -> None:
    model, _ = opened(run, LARGE)
    model.layout.active = 3
    model.resize(*SMALL)
    assert model.layout.active == 0
    assert model.layout.visible == (0,)
    model.resize(*LARGE)
    model.zoom()
    assert model.layout.visible == (3,)


def test_a_followed_run_begins_at_its_end_until_a_key_moves(run: Path) -> None:
    model, asked = opened(run, follow=True)
    assert (model.row, model.following) == (5, True)
    assert "  following  " in status_text(model)
    model.choose_row(2)
    asked.draw(model)
    assert not model.following
    model.run_grew()
    assert model.row == 2
    model.follow_run()
    assert (model.row, model.take_effects().status) == (5, True)


def test_copies_and_the_line_on_the_cursor(run: Path) -> None:
    model, asked = opened(run)
    model.copy_moment()
    assert model.take_effects().clipboard == "0:0:0:tensorize"
    model.cursor(NodeTarget(2), None, 78)
    model.copy_moment()
    assert model.take_effects().clipboard == "0:0:0:tensorize:2"
    model.copy_value()
    assert model.take_effects().clipboard == "node 2"
    assert cursor_line(model)[0].text.startswith("node 2")
    model.panel("findings")
    asked.draw(model)
    model.copy_moment()
    assert model.take_effects().clipboard == "0:0:0"
