"""The batch of a step: its launch, who holds which block, and the lives of its requests."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.invariants.toy_engine import ToyEngine
from tests.invariants.toy_rows import CONTEXT, GROUPS
from tests.view.steps import PLAIN, step_view
from tracing.moment import Moment
from tracing.recorder import RunWriter
from workbench.view.batch import PANEL, batch_lines
from workbench.view.launch_shown import Happening, LaunchShown, RequestOfLaunch, Row
from workbench.view.lines import line_text, plain_text, targets_of
from workbench.view.page import page_lines
from workbench.view.run_view import RunView
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import MomentTarget

KEYS = ("prompt_id", "turn", "step")


def step_row(step: int = 4, prompt: int = 0, **columns: Any) -> Row:
    row = {"prompt_id": prompt, "turn": 0, "step": step, "launch": 9, "batch_row": prompt}
    lengths = {"query_len": 6, "committed_len": 40, "kv_len": 46, "accepted_nodes": np.array([1, 2])}
    return row | lengths | columns


def request(name: str, *rows: Row, blocks: tuple[int, ...] = (3, 8), life: str = "") -> RequestOfLaunch:
    signs = {"p": "prefill_chunk", "r": "recompute", "x": "preempted", "w": "withdrawn"}
    happened = tuple(
        Happening(number, number, 0, signs.get(each, ""), int(each) if each.isdigit() else None, each == "$")
        for number, each in enumerate(life)
        if each != "·"
    )
    return RequestOfLaunch(name, rows, (blocks,), happened)


def drawn(shown: LaunchShown | None, width: int = 78) -> str:
    step = replace(step_view(4), batch=lambda: shown)
    return plain_text(batch_lines(step, ViewOptions(width=width)))


def launch(*requests: RequestOfLaunch, padding: tuple[Row, ...] = ()) -> LaunchShown:
    return LaunchShown((0, 9), requests, padding, (16,), (0,))


def test_a_step_of_no_engine_says_so() -> None:
    assert "no recorded launch" in drawn(None)
    assert not PANEL.shown_for(step_view(4))
    assert PANEL.shown_for(step_view(4, launch=3))


def test_requests_stand_with_their_rows_and_the_step_at_hand_is_marked() -> None:
    chunk = step_row(0, 1, row_kind="prefill_chunk", query_len=30, committed_len=0, kv_len=30)
    del chunk["accepted_nodes"]  # type: ignore[attr-defined]  # a dict
    text = drawn(
        launch(
            request("req-a", step_row(num_tokens_padded=64, stop_reason="length")),
            request("req-b", chunk),
            padding=({"query_len": 28},),
        )
    )
    lines = text.splitlines()
    assert lines[0] == "launch 9  2 requests, 36 query rows padded to 64"
    assert lines[2].split()[1:] == ["req-a", *["0", "step", "6", "40", "46", "2", "of", "5", "length"]]
    assert lines[2].startswith("> ")
    assert lines[3].split() == ["req-b", *["1", "prefill_chunk", "30", "0", "30"]]
    assert lines[4].split() == ["padding", "28", "rows"]


@pytest.mark.parametrize("width", [44, 54, 58])
def test_with_little_room_the_outcome_of_a_row_is_not_what_is_cut(width: int) -> None:
    chunk = step_row(0, 1, row_kind="prefill_chunk", query_len=30, committed_len=0, kv_len=30)
    text = drawn(launch(request("1-9b675f09", step_row()), request("2-b87e31d8", chunk)), width)
    assert "2 of 5" in text
    assert "prefill" in text
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize(("host", "sign"), [(46, ""), (48, "host 48"), (44, "host 44")])
def test_a_length_of_the_host_is_shown_where_it_is_another(host: int, sign: str) -> None:
    text = drawn(launch(request("a", step_row(kv_len_host=host))))
    assert ("host" in text) == bool(sign)
    assert sign in text


def test_blocks_say_who_writes_and_who_shares_them() -> None:
    mine, other = np.array([48, 49]), np.array([20 * 16])
    text = drawn(
        launch(
            request("a", step_row(slots=mine), blocks=(3, 8)),
            request("b", step_row(prompt=1, slots=mine + 1), blocks=(0, 3, 9)),
            request("c", step_row(prompt=2, slots=other), blocks=(5,)),
        )
    )
    blocks = text[text.index("blocks of 16") :]
    assert "a                  3*=! 8" in blocks
    assert "b                  3*=! 9" in blocks
    assert "c                  5 20* not its own" in blocks
    assert "block 3: a, b" in blocks
    assert "! written by several now" in " ".join(blocks.split())


def test_lives_are_strips_over_launches_and_the_launch_at_hand_stays_in_sight() -> None:
    long = "pp" + "3" * 20 + "x··r" + "5" * 60 + "$"
    whole = drawn(launch(request("a", step_row(), life="p204··3$"), request("b", step_row(), life="··p01")))
    assert whole.splitlines()[-2:] == ["  a                  p204··3$", "  b                    p01"]
    cut = replace(launch(request("a", step_row(), life=long)), launch=(0, 60))
    strip = next(each for each in drawn(cut, 60).splitlines() if each.startswith("  a") and "555" in each)
    assert "launches 36 to 84" in drawn(cut, 60)
    assert len(strip) <= 60


def test_names_are_safe_and_short() -> None:
    hostile = "\x1b[31mred" + "x" * 40
    text = drawn(launch(request(hostile, step_row(), life="12")))
    assert "\x1b" not in text
    assert all(len(line) <= 78 for line in text.splitlines())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch") / "run"
    assert CONTEXT.model_facts is not None
    manifest = {"engine": "a toy", "model_facts": asdict(CONTEXT.model_facts)}
    with RunWriter(folder, manifest) as writer:
        trace = writer.path("fused", level="digest")
        for rows in ToyEngine(2, num_blocks=30).launches(40):
            for row in rows:
                columns = {name: each for name, each in row.items() if name not in KEYS and each is not None}
                for name in {"block_ids", "table_block_ids"} & set(columns):
                    columns[name] = columns[name].astype(np.int64).reshape(len(GROUPS), -1)
                with trace.step(**{name: row.get(name) or 0 for name in KEYS}) as one:
                    one.record(**columns)
    return folder


def steps(view: RunView) -> list[StepView]:
    return [view.step(number) for number in range(view.num_rows)]


def test_every_step_of_an_engine_shows_its_whole_launch(run: Path) -> None:
    """Rows that are no steps too, which the rest of the screen leaves out."""
    kinds = set[str]()
    for step in steps(RunView(run)):
        shown = step.batch()
        assert shown is not None
        assert shown.launch[1] == step.left.get("launch")
        own = [row for each in shown.requests for row in each.rows if row.get("row_kind") is None]
        assert step.moment.place in {tuple(row[name] for name in KEYS) for row in own}
        kinds |= {row.get("row_kind") or "step" for each in shown.requests for row in each.rows}
        text = plain_text(batch_lines(step, PLAIN))
        assert "not its own" not in text
        assert "!" not in text
    assert kinds >= {"step", "prefill_chunk", "recompute", "preempted"}


def test_a_request_leads_to_its_own_step(run: Path) -> None:
    step = next(each for each in steps(RunView(run)) if len((each.batch() or launch()).requests) > 2)
    targets = [
        target for line in batch_lines(step, PLAIN) for _, _, target in targets_of(line) if target is not None
    ]
    assert MomentTarget(step.moment) in targets
    assert len(targets) >= 2
    assert all(isinstance(each, MomentTarget) for each in targets)


def test_a_page_has_the_panel_where_there_is_an_engine(run: Path) -> None:
    view = RunView(run)
    step = view.step(0)
    page = [line_text(each) for each in page_lines(view, step, PLAIN)]
    assert any(each.startswith("── batch") for each in page)
    elsewhere = [line_text(each) for each in page_lines(view, replace(step, left=step_view().left), PLAIN)]
    assert not any(each.startswith("── batch") for each in elsewhere)


def test_what_is_written_meanwhile_is_shown(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", {"engine": "a toy"})
    trace = writer.path("fused")

    def write(number: int) -> None:
        for prompt in (0, 1):
            with trace.step(prompt_id=prompt, turn=0, step=number) as one:
                one.record(launch=number, request_id=f"r{prompt}", accepted_nodes=np.zeros(0, np.int64))

    write(0)
    view = RunView(tmp_path / "run")
    assert len(view.step(0).batch().requests[0].life) == 1  # type: ignore[union-attr]  # there is one
    write(1)
    writer.close()
    view.refresh()
    shown = view.step(view.row_of(Moment(1, 0, 1))).batch()
    assert shown is not None
    assert [len(each.life) for each in shown.requests] == [2, 2]
