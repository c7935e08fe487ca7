"""A long run opens before it is proven; the screen says so, and never shows a damaged batch as sound."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pyarrow as pa
import pytest

from costs.long_run import write_long_run
from tests.tui.driving import Shown, look_at, play, press, run_screen, settle
from tracing.ipc_message import MAX_BATCH_STEPS
from tracing.reader import open_run
from tracing.recorder import RunWriter
from workbench.tui.app import ViewApp
from workbench.tui.screens import run as run_screens
from workbench.view.run_view import RunView

NUM_BATCHES = 4
WIDE = (160, 24)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four batches on each path; nothing is read ahead of need unless a test says so."""
    monkeypatch.setattr(run_screens, "READ_ON_AFTER", 1e6)
    return write_long_run(tmp_path / "run", NUM_BATCHES * MAX_BATCH_STEPS, num_nodes=6, for_screen=True)


def changed(folder: Path, path: str, batch: int) -> Path:
    """Flip a bit in the body of a batch."""
    file = folder / f"{path}.arrows"
    frame = open_run(folder).path(path).stream.batches[batch]
    data = bytearray(file.read_bytes())
    data[frame.stop - 20] ^= 4
    file.write_bytes(data)
    return folder


def look(folder: Path, keys: tuple[str, ...] = (), *, read_on: bool = False) -> Shown:
    def between(app: ViewApp) -> None:
        if read_on:
            run_screen(app).read_on()

    return play(
        RunView(folder, lazily=True),
        keys,
        size=WIDE,
        between=between,
        ask=lambda screen: (screen.model.view.num_rows, screen.model.view.proof()),
    )


def test_the_sign_says_how_much_is_proven(run: Path) -> None:
    first = look(run)
    assert first.asked == (256, "25 % proven")  # the first batch of each path
    assert "25 % proven" in first.text
    later = look(run, read_on=True)
    assert later.asked == (256, "proven")
    assert "1 of 256  proven" in later.text
    assert "note:" not in later.text


def test_a_run_that_was_read_whole_is_proven_from_the_start(run: Path) -> None:
    assert RunView(run).proof() == "proven"
    assert RunView(changed(run, "fused", 2)).proof() == "damaged"


@pytest.mark.parametrize("path", ["fused", "reference"])
def test_a_damaged_batch_is_said_and_not_shown(run: Path, path: str) -> None:
    """Catches rows of an unproven batch on the screen; the last step stands in it."""
    changed(run, path, NUM_BATCHES - 1)
    assert "damaged" not in look(run).text
    shown = look(run, ("G",))
    assert "damaged" in shown.text
    assert f"{path}.arrows: batch 3" in shown.text
    if path == "fused":
        assert shown.asked[0] == 256 - MAX_BATCH_STEPS
        assert not shown.moment.startswith("3:")
    else:
        assert shown.moment == "3:0:63"
        assert "has no step 3:0:63" in look(run, ("G", "t", "z")).text + look(run, ("G", "a", "z")).text


def test_damage_elsewhere_is_said_and_the_step_stays(run: Path) -> None:
    """Catches a screen that shows another step when rows before its own turn out to be damaged."""
    changed(run, "fused", 1)
    shown = look(run, ("G",))
    assert (shown.moment, shown.asked) == ("3:0:63", (256, "50 % proven"))
    proven = asyncio.run(_reading_on(run))
    assert proven.moment == "3:0:63"
    assert "damaged" in proven.text
    assert "fused.arrows: batch 1" in proven.text


def test_a_moment_is_found_past_a_damaged_batch(run: Path) -> None:
    changed(run, "fused", 1)
    shown = play(RunView(run, lazily=True), size=WIDE, moment="3:0:5")
    assert shown.moment == "3:0:5"
    assert "fused.arrows: batch 1" in shown.text


def test_two_runs_are_compared_past_their_damaged_batches(run: Path, tmp_path: Path) -> None:
    """Catches differences that nobody is told of, because a batch before them is damaged."""
    other = tmp_path / "other"
    with RunWriter(other, {}) as writer:
        path = writer.path_writer("fused", level="full")
        for batch in open_run(run).path("fused").batches():
            last = batch.column("prompt_id")[0].as_py() == NUM_BATCHES - 1
            path.append_batch(_other_tokens(batch) if last else batch)
    for folder in (run, other):
        changed(folder, "fused", 1)
    shown = play(RunView(run, other, lazily=True), size=WIDE, ask=lambda screen: screen.model.view.findings)
    assert [str(each.moment)[:5] for each in shown.asked if each.rule.startswith("JUDGE-ALIGN")] == ["3:0:0"]


def _other_tokens(batch: pa.RecordBatch) -> pa.RecordBatch:
    tokens = pa.array([1 + each for each in batch.column("final_token_id").to_pylist()], pa.int32())
    number = batch.schema.get_field_index("final_token_id")
    return batch.set_column(number, batch.schema.field("final_token_id"), tokens)


async def _reading_on(folder: Path) -> Shown:
    """Go to the last step, then have the rest of the files proven."""
    app = ViewApp(RunView(folder, lazily=True))
    async with app.run_test(size=WIDE) as pilot:
        await settle(app, pilot)
        await press(app, pilot, "G")
        run_screen(app).read_on()
        await settle(app, pilot)
        return look_at(app, lambda screen: None)
