"""Any step of a run by row or moment, damaged runs included; nothing is read that was not asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.view.columns import step_columns
from tests.view.traces import finding, leaked, write_run
from tracing.errors import TraceError
from tracing.moment import Moment
from tracing.path_reader import PathReader
from tracing.recorder import RunWriter
from workbench.view.lines import plain_text
from workbench.view.page import page_lines
from workbench.view.run_distance import count_run
from workbench.view.run_view import RunView
from workbench.view.step import ViewOptions


def page(view: RunView, row: int = 0) -> str:
    step = view.step(row) if view.num_rows else None
    return plain_text(page_lines(view, step, ViewOptions()))


def test_every_row_is_the_step_it_says(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 5, turns=2))
    assert view.num_rows == 10
    for row in range(10):
        step = view.step(row)
        assert (step.moment.turn, step.moment.step) == divmod(row, 5)
        assert view.row_of(step.moment) == row
        assert step.right is not None
        assert step.right.row["step"] == step.moment.step


def test_moves_by_turn_and_prompt_end_at_first_steps(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 3, turns=3))
    assert [view.moved(4, "turn", 1), view.moved(4, "turn", -1)] == [6, 0]
    assert [view.moved(8, "turn", 1), view.moved(1, "turn", -1)] == [8, 1]
    assert [view.moved(8, "step", 1), view.moved(0, "step", -1)] == [8, 0]
    assert view.moved(4, "prompt", 1) == 4


def test_steps_of_several_requests_in_any_order_are_found(tmp_path: Path) -> None:
    """An engine serves requests side by side: rows are not sorted by prompt."""
    order = [(1, 0), (0, 0), (1, 1), (0, 1)]
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("engine")
        for prompt_id, step in order:
            with trace.step(prompt_id=prompt_id, step=step) as recorded:
                recorded.record(**step_columns(step))
    view = RunView(tmp_path / "run")
    assert [view.row_of(Moment(prompt_id, 0, step)) for prompt_id, step in order] == [0, 1, 2, 3]
    assert view.moved(1, "prompt", 1) == 0
    assert view.labels == ("engine",)


def test_a_moment_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no step 0:0:9 in run"):
        RunView(write_run(tmp_path / "run")).row_of(Moment(0, 0, 9))


def test_two_runs_stand_side_by_side_and_a_missing_step_is_said(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "a", 4), write_run(tmp_path / "b", 2, seed=50))
    assert view.labels == ("a", "b")
    assert "≠ token_ids" in page(view, 0)
    assert "b: has no step 0:0:3" in page(view, 3)


def test_two_runs_are_compared_and_each_keeps_its_own_findings(tmp_path: Path) -> None:
    """Catches a finding of one run that is marked on the tree of the other."""
    changes = {2: {"final_token_id": 3, "emitted_token_ids": [4, 3]}}
    left = write_run(tmp_path / "a", 4, paths=("fused",))
    right = write_run(tmp_path / "b", 4, paths=("fused",), changes=changes, findings=(finding(1, node=3),))
    view = RunView(left, right)
    assert view.compare()
    assert [(each.moment.step, each.column) for each in view.findings] == [
        (1, "visible"),
        (2, "final_token_id"),
    ]
    assert view.step(1).finding_nodes() == frozenset()
    assert view.step(1).swapped().finding_nodes() == {3}
    assert "[b]" in page(view, 1)
    assert not RunView(left, write_run(tmp_path / "c", 4, paths=("fused",))).compare()
    assert not RunView(left).compare()


def test_only_the_asked_batches_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a time line or a step that reads the whole run."""
    view = RunView(write_run(tmp_path / "run", 200, paths=("fused",), keep=("token_ids", "accepted_nodes")))
    read: list[tuple[int, int | None]] = []
    original = PathReader.batches

    def spy(self: PathReader, names: object = None, start: int = 0, stop: int | None = None) -> object:
        read.append((start, stop))
        return original(self, names, start, stop)

    monkeypatch.setattr(PathReader, "batches", spy)
    assert len(view.timeline(64, 128)) == 64
    view.step(100)
    assert read == [(64, 128)]


def test_a_run_without_steps_is_a_page_that_says_so(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 0))
    assert view.num_rows == 0
    assert "no step was recorded" in page(view)
    assert view.timeline(0, 10) == []


def test_a_run_without_a_path_is_a_page_that_says_so(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run"):
        pass
    view = RunView(tmp_path / "run")
    assert "run has no path" in page(view)
    assert view.timeline(0, 10) == []


def test_a_truncated_run_shows_what_is_proven(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 200, paths=("fused",), keep=("token_ids",))
    file = folder / "fused.arrows"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    view = RunView(folder)
    assert 0 < view.num_rows < 200
    assert "damaged: fused.arrows" in page(view)


def test_a_manifest_of_noise_leaves_the_steps_readable(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    view = RunView(folder)
    assert view.num_rows == 3
    assert "unknown status" in page(view)


def test_a_batch_that_was_changed_on_disk_does_not_hide_the_others(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 150, paths=("fused",), keep=("token_ids",))
    data = bytearray((folder / "fused.arrows").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "fused.arrows").write_bytes(data)
    view = RunView(folder)
    assert 0 < view.num_rows < 150
    assert any("fused.arrows" in problem for problem in view.problems())


def test_columns_of_another_engine_are_enough_for_their_panels(tmp_path: Path) -> None:
    text = page(
        RunView(write_run(tmp_path / "run", 1, paths=("vllm",), keep=("token_ids", "target_token_ids")))
    )
    assert "vllm: parents was not recorded" in text
    assert " → " in text


def test_a_step_that_was_running_is_shown_with_its_inputs(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        with trace.step(step=0) as recorded:
            recorded.record(**step_columns(0))
        step = trace.step(step=1).__enter__()
        step.record(token_ids=step_columns(1)["token_ids"])
        step.about_to_run("verify", visible=step_columns(1)["visible"])
        view = RunView(tmp_path / "run")
        assert view.num_rows == 2
        assert view.row_of(Moment(0, 0, 1)) == 1
        assert view.timeline(0, 9)[1].mark == "part"
        assert "the trace ends while verify runs" in page(view, 1)
        assert "verify was running when the trace ends" in page(view, 1)
        assert view.step(1).left.grid("visible") is not None
        step.__exit__(None, None, None)


def test_a_live_run_grows(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        view = RunView(tmp_path / "run")
        for number in range(3):
            with trace.step(step=number) as recorded:
                recorded.record(**step_columns(number))
            assert view.refresh()
            assert view.num_rows == number + 1
            assert view.row_of(Moment(0, 0, number)) == number
        assert not view.refresh()
        run.add_finding(finding(1))
        assert view.refresh()
        assert len(view.step(1).findings) == 1


def test_the_time_line_counts_findings_and_consequences(tmp_path: Path) -> None:
    found = (finding(1), finding(1, consequence=True), finding(2, consequence=True))
    rows = RunView(write_run(tmp_path / "run", findings=found)).timeline(0, 3)
    assert [(row.num_findings, row.num_consequences) for row in rows] == [(0, 0), (1, 1), (0, 1)]
    assert [row.num_accepted for row in rows] == [1, 1, 1]
    assert rows[1].nanoseconds == 5 * 2000


def test_distances_over_the_run_are_the_sum_of_its_steps(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 70))
    table = count_run(view).table
    by_hand = [np.ma.compressed(view.step(row).left.row["draft_top1_offsets"]) for row in range(70)]
    values = np.concatenate(by_hand)
    assert table.total == len(values)
    assert table.by_head[:, -1].sum() == (values >= 256).sum()
    assert table.by_depth.sum() == table.total
    assert table.num_steps == 70


def test_hostile_tokens_reach_no_page(tmp_path: Path) -> None:
    """Catches a panel that prints a token as it is: no control, format or bidi character is left."""
    ids = np.array([7, 8, 9, 10, 11, 12, 7, 8, 9, 10, 11, 12])
    changes = {
        0: {
            "token_ids": ids,
            "target_token_ids": ids,
            "target_top_ids": np.stack([ids] * 4, axis=1),
            "emitted_token_ids": ids,
            "final_token_id": 7,
            "kernel": "\x1b[2J",
            "stop_reason": "\u202eeos",
            "commit_mode": "\x1b]0;x\x07",
            "commit_fallback": "\x00",
            "index_sites": [{"site": "\x1b[1m", "min": 0, "max": 1, "bound": 2}],
        }
    }
    hostile = finding(0, message="\x1b[31m", rule="\x9b1m", fused="\u2066")
    view = RunView(write_run(tmp_path / "run\u202e", changes=changes, findings=(hostile,)))
    text = page(view)
    assert all(character == "\n" or character.isprintable() for character in text)
    assert "宽字符" in text


def test_the_leaked_cell_is_on_the_page(tmp_path: Path) -> None:
    changes, (query, key) = leaked()
    view = RunView(write_run(tmp_path / "run", changes=changes))
    assert f"L node {query} sees node {key}, no ancestor of it" in page(view, 1)
    assert " L " not in page(view, 0)
