"""A path without a stage is shown with what the reference gave it in its place, and that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.view.columns import step_columns
from tracing.recorder import RunWriter
from workbench.view.lines import plain_text
from workbench.view.page import page_lines
from workbench.view.run_view import RunView
from workbench.view.step import Side, ViewOptions

FILLED = (
    "token_ids",
    "parents",
    "depths",
    "valid",
    "position_ids",
    "cache_positions",
    "slots",
    "draft_logprobs",
)
"""What a path without draft and tensorize does not record."""


def partial_run(folder: Path, lockstep: str = "staged", lost: tuple[str, ...] = FILLED) -> Path:
    """Two lawful steps of a path without draft and tensorize, beside the reference."""
    with RunWriter(folder, {"lockstep": lockstep}) as run:
        for name in ("fused", "reference"):
            trace = run.path(name)
            for number in range(2):
                dropped = (*lost, "draft_parents", "proposer", "beam_flat_ids") if name == "fused" else ()
                with trace.step(step=number) as step:
                    columns = step_columns(number).items()
                    step.record(**{column: value for column, value in columns if column not in dropped})
    return folder


def text(folder: Path, panel: str) -> str:
    view = RunView(folder)
    return plain_text(page_lines(view, view.step(1), ViewOptions(), (panel,)))


def test_the_tree_that_the_path_was_given_is_drawn(tmp_path: Path) -> None:
    shown = text(partial_run(tmp_path / "run"), "tree")
    assert "fused has no parents and token_ids of its own; it was given the reference's" in shown
    assert "└─" in shown


def test_no_kept_row_is_called_wrong_for_want_of_positions(tmp_path: Path) -> None:
    shown = text(partial_run(tmp_path / "run"), "cache")
    assert "the path calls for nothing" not in shown
    assert "!" not in shown
    assert "node 0 stays" in shown


def test_what_the_rules_see_is_the_paths_own(tmp_path: Path) -> None:
    side: Side = RunView(partial_run(tmp_path / "run")).step(1).left
    assert side.get("parents") is not None
    assert side.row.get("parents") is None


@pytest.mark.parametrize("lockstep", ["free", ""])
def test_nothing_is_fed_where_paths_live_on_their_own(lockstep: str, tmp_path: Path) -> None:
    side = RunView(partial_run(tmp_path / "run", lockstep)).step(1).left
    assert side.get("parents") is None
    assert not side.fed


def test_a_stage_that_the_path_has_is_never_filled(tmp_path: Path) -> None:
    """One column that was not recorded is not a stage that is not there."""
    side = RunView(partial_run(tmp_path / "run", lost=("parents",))).step(1).left
    assert side.get("parents") is None


def test_two_runs_feed_each_other_nothing(tmp_path: Path) -> None:
    one, other = partial_run(tmp_path / "one"), partial_run(tmp_path / "reference", lost=())
    assert not RunView(one, other).step(1).left.fed
