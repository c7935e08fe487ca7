"""Whatever a trace holds, nothing acts on the terminal: every panel of the screen and of every export."""

from __future__ import annotations

import html
import re
import unicodedata
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.tui.driving import play, play_each
from tests.view.columns import step_columns
from tests.view.traces import HOSTILE, finding, write_run
from tracing.recorder import open_trace
from workbench.cli.run import run_command
from workbench.view.panels import PANELS
from workbench.view.run_view import RunView

TRAP = "\x1b[2J\x1b]0;owned\x07\u202etxt\u2066\u200b\x9b31m\x00\r\n[bold]</text><script>"
IDS = [*HOSTILE, *HOSTILE]
HARMFUL = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step whose every text tries to take over the terminal, found wrong by a rule that does too."""
    ids = np.array(IDS)
    columns = {
        "token_ids": ids,
        "target_token_ids": ids,
        "target_top_ids": np.tile(ids[:4], (12, 1)),
        "emitted_token_ids": ids[1:3],
        "final_token_id": int(ids[2]),
        "stop_reason": TRAP,
        "kernel": TRAP,
        "proposer": TRAP,
        "commit_fallback": TRAP,
        "step_verdict": TRAP,
        "launch_refused": TRAP,
        "index_sites": [{"site": TRAP, "min": -1, "max": 3, "bound": 2}],
    }
    texts = {"message": TRAP, "rule": TRAP, "fused": TRAP, "reference": TRAP, "path": TRAP}
    found = (finding(0, **texts), finding(0, TRAP, None, **texts))
    folder = tmp_path_factory.mktemp("runs") / "run\u202e\x1b[31m"
    return write_run(folder, 1, changes={0: columns}, findings=found, distance_edges=TRAP, verdict=TRAP)


def is_harmless(text: str) -> bool:
    """Say whether a terminal or a browser would only show it."""
    return not [each for each in text if each != "\n" and unicodedata.category(each) in HARMFUL]


def test_every_panel_of_the_screen_is_harmless(trap: Path) -> None:
    keys = [[panel.key] for panel in PANELS] + [["exclamation_mark"], ["m", "exclamation_mark", "d", "x"]]
    for shown in play_each(trap, keys):
        assert is_harmless(shown.text), f"{shown.panel}: {shown.text!r}"
        assert is_harmless(shown.said)


def test_wide_and_zero_width_tokens_do_not_break_the_frame(trap: Path) -> None:
    """Catches a panel whose right border moves because a token takes other cells than it was counted for."""
    for panel in PANELS:
        lines = play(RunView(trap), [panel.key, "z"], ask=rows_by_width).asked
        assert set(lines) == {80}, f"{panel.name}: {lines}"


def rows_by_width(screen: object) -> list[int]:
    from workbench.tui.screens.run import RunScreen

    assert isinstance(screen, RunScreen)
    return [strip.cell_length for strip in screen.app.screen._compositor.render_strips()]


def test_what_is_copied_is_harmless(trap: Path) -> None:
    for shown in play_each(trap, [["exclamation_mark", "y"], ["t", "Y"], ["f", "Y"]]):
        assert is_harmless(shown.clipboard)


@pytest.mark.parametrize("panel", [panel.name for panel in PANELS])
def test_every_panel_of_every_export_is_harmless(
    trap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], panel: str
) -> None:
    svg, page = tmp_path / "moment.svg", tmp_path / "moment.html"
    arguments = ["view", str(trap), "--text", "--svg", str(svg), "--html", str(page), "--panel", panel]
    assert run_command(arguments) == 0
    said = capsys.readouterr()
    assert is_harmless(said.out)
    assert is_harmless(said.err)
    picture = ET.parse(svg).getroot()
    assert is_harmless("".join(picture.itertext()))
    assert not [each for each in picture.iter() if each.tag.endswith("script")]
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert is_harmless(html.unescape(re.sub(r"<[^>]*>", "", text)))


def test_an_engine_and_paths_with_hostile_names_are_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {name: step_columns(0)[name] for name in ("token_ids", "parents", "valid")}
    with (
        open_trace(tmp_path / "run", engine=TRAP, level="full", manifest={"models": TRAP}) as trace,
        trace.step(prompt_id=0, turn=0, step=0) as step,
    ):
        step.record(**columns)
    assert run_command(["view", str(tmp_path / "run"), "--text"]) == 0
    assert is_harmless(capsys.readouterr().out)
    assert is_harmless(play(tmp_path / "run").text)
