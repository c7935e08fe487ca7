"""A run that is being written is followed; runs of all kinds open."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from costs.long_run import write_long_run
from tests.tui.driving import play, run_screen
from tests.view.columns import step_columns
from tests.view.traces import finding, write_run
from tracing.errors import TraceError
from tracing.recorder import RunWriter
from workbench.tui.app import ViewApp, follow
from workbench.tui.screens.run import RunScreen
from workbench.tui.widgets.timeline_view import MAX_BLOCKS
from workbench.view.run_view import RunView


def _follows(screen: RunScreen) -> bool:
    return screen.model.following


def test_a_live_run_is_followed_until_its_first_divergence(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        for number in range(3):
            with trace.step(step=number) as recorded:
                recorded.record(**step_columns(number))

        def grow(app: ViewApp) -> None:
            with trace.step(step=3) as recorded:
                recorded.record(**step_columns(3))
            run_screen(app).drawing.refresh()

        shown = play(tmp_path / "run", follow=True, between=grow, ask=_follows)
        assert (shown.moment, shown.asked) == ("0:0:3", True)
        assert "following" in shown.text
        assert not play(tmp_path / "run", ["F"], follow=True, ask=_follows).asked
        assert play(tmp_path / "run", ["F", "F"], follow=True, ask=_follows).asked

        def break_it(app: ViewApp) -> None:
            run.add_finding(finding(1, "parents", node=2))
            run_screen(app).drawing.refresh()

        shown = play(tmp_path / "run", follow=True, between=break_it, ask=_follows)
        assert (shown.moment, shown.panel, shown.asked) == ("0:0:1", "tree", False)
        assert "first divergence was found" in shown.said


@pytest.mark.parametrize("num_steps", [0, 1])
def test_a_run_of_one_step_or_none_is_no_trouble(tmp_path: Path, num_steps: int) -> None:
    folder = write_run(tmp_path / "run", num_steps)
    keys = [
        "right_square_bracket",
        "right_parenthesis",
        "exclamation_mark",
        "right_curly_bracket",
        "j",
        "G",
        "m",
        "l",
        "enter",
        "y",
        "Y",
        "x",
        "d",
        "b",
        "i",
        "backspace",
    ]
    shown = play(folder, keys)
    assert ("no step was recorded" in shown.text) == (num_steps == 0)


def test_a_damaged_run_opens_with_a_note(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 100, paths=("fused",), keep=("token_ids", "parents"))
    file = folder / "fused.arrows"
    file.write_bytes(file.read_bytes()[:-2000])
    shown = play(folder)
    assert "note: fused.arrows" in shown.text
    assert shown.moment == "0:0:0"


def test_two_runs_are_two_sides(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "before"), write_run(tmp_path / "after", seed=9))
    shown = play(view)
    assert "before | after" in shown.text
    assert "≠ token_ids" in shown.text


def test_a_long_run_keeps_only_what_was_looked_at(tmp_path: Path) -> None:
    """Catches a time line that reads or keeps the whole run, whatever its speed on this machine."""
    folder = write_long_run(tmp_path / "long", 64 * (MAX_BLOCKS + 40), num_nodes=4, for_screen=True)
    shown = play(folder, ["G", "g", "right_curly_bracket"], ask=lambda screen: len(screen.timeline._blocks))
    assert "of 6656" in shown.text
    assert shown.asked <= 4


def test_following_waits_for_the_run_and_not_for_a_dead_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[int, bool]] = []
    monkeypatch.setattr(ViewApp, "run", lambda app: opened.append((app._view.num_rows, app._follow)))
    late = threading.Timer(0.2, write_run, (tmp_path / "late",))
    late.start()
    follow(tmp_path / "late")
    late.join()
    assert opened[0][1]
    with pytest.raises(TraceError, match="no recorded run"):
        follow(tmp_path / "never", alive=lambda: False)


def test_of_two_runs_the_first_difference_is_found_by_the_screen_itself(tmp_path: Path) -> None:
    changes = {2: {"final_token_id": 3}}
    left = write_run(tmp_path / "a", 4, paths=("fused",))
    right = write_run(tmp_path / "b", 4, paths=("fused",), changes=changes)
    shown = play(RunView(left, right), ["exclamation_mark"])
    assert (shown.moment, shown.panel) == ("0:0:2", "acceptance")
    assert "a | b" in shown.text


def test_following_rests_on_the_newest_finished_step(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        for number in range(2):
            with trace.step(step=number) as recorded:
                recorded.record(**step_columns(number))
        with trace.step(step=2) as recorded:
            recorded.record(token_ids=[1, 2], parents=[0, 0])
            recorded.about_to_run("verify")
            shown = play(tmp_path / "run", follow=True, ask=lambda screen: screen.model.num_rows)
    assert (shown.moment, shown.asked) == ("0:0:1", 3)
