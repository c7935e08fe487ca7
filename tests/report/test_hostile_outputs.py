"""Whatever a trace or checkpoint holds, no output of text acts on a terminal or on the log of a CI system."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from invariants.examples import StepRow
from tests.cli.recorded import LIMITS, SETTINGS, write_run
from tests.plugin.test_plugin import run_pytest
from tracing.recorder import RunWriter
from workbench.cli.run import run_command
from workbench.view.safe_text import safe_json, safe_line, safe_lines

TRAP = "::error::owned\n::warning::x\r##[error]y ##vso[task.complete]\x1b]0;t\x07\u202e\u2066\x9b31m\x7f\x00"
HARMFUL = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
OUR_COMMAND = re.compile(r"::(error|warning|notice) title=[A-Za-z0-9 -]+::")


def spoil(row: StepRow) -> StepRow:
    sites = [{"site": TRAP, "min": -1, "max": 9, "bound": 2}]
    return row | {"index_sites": sites, "kernel": TRAP, "incomplete": TRAP}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A closed run, the same with a damaged batch, and one killed within a step."""
    folder = tmp_path_factory.mktemp("runs")
    texts = dict.fromkeys(("engine", "verdict"), TRAP)
    inner = {"argv": [TRAP], "versions": {TRAP: TRAP}, "models": {TRAP: TRAP, "digests": {TRAP: TRAP}}}
    manifest = {"settings": SETTINGS, "limits": LIMITS, **texts, **inner}
    closed = write_run(folder / "closed", 70, change=spoil, manifest=manifest)
    damaged = write_run(folder / "damaged", 70, change=spoil, manifest=manifest)
    stream = damaged / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[:-900])
    killed = RunWriter(folder / "killed", manifest)
    killed.path("fused").step(step=0).about_to_run("verify", incomplete=TRAP)
    return {"closed": closed, "damaged": damaged, "killed": folder / "killed"}


def acting(text: str, *, commands: bool = False) -> list[str]:
    """Return what of this text would act; with `commands`, our own workflow commands may begin a line."""
    found = [f"U+{ord(each):04X}" for each in text if each != "\n" and unicodedata.category(each) in HARMFUL]
    found += re.findall(r"##\w*\[.{,20}", text)
    lines = [line.lstrip() for line in text.split("\n") if line.lstrip().startswith("::")]
    return found + [line for line in lines if not (commands and OUR_COMMAND.match(line))]


FORMATS = ("text", "json", "junit", "sarif", "github")
COMMANDS = {
    **{f"check {name}": ["check", "RUN", "--format", name] for name in FORMATS},
    "trace info": ["trace", "info", "RUN"],
    "trace info json": ["trace", "info", "RUN", "--format", "json"],
    "trace verify": ["trace", "verify", "RUN"],
    "trace verify json": ["trace", "verify", "RUN", "--format", "json"],
    "trace repair": ["trace", "repair", "RUN", "OUT"],
    "trace export": ["trace", "export", "RUN", "OUT", "--parquet"],
    "trace slice": ["trace", "slice", "RUN", "OUT", "--first", "0:0:0"],
    "view": ["view", "RUN", "--text"],
    "diff": ["diff", "RUN", "RUN"],
    "diff json": ["diff", "RUN", "RUN", "--format", "json"],
    "replay": ["replay", "RUN"],
    "replay json": ["replay", "RUN", "--format", "json"],
    "no such path": ["view", "RUN", "--text", "--path", TRAP],
}


@pytest.mark.parametrize("state", ["closed", "damaged", "killed"])
@pytest.mark.parametrize("name", list(COMMANDS))
def test_no_command_lets_a_trace_act(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, state: str
) -> None:
    places = {"RUN": str(runs[state]), "OUT": str(tmp_path / "out")}
    code = run_command([places.get(word, word) for word in COMMANDS[name]])
    printed = capsys.readouterr()
    assert code != 70, printed.err
    assert acting(printed.out, commands=name == "check github") == []
    assert acting(printed.err) == []
    if "json" in name or "sarif" in name:
        json.loads(printed.out or "{}")


def test_the_plugin_lets_no_trace_act(runs: dict[str, Path], tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "-v", "-rA", *(f"--specwb-trace={run}" for run in runs.values()))
    assert "error::owned" in done.stdout, done.stdout + done.stderr
    assert acting(done.stdout + done.stderr) == []


def test_the_recorder_of_the_plugin_lets_no_row_act(tmp_path: Path) -> None:
    sites = [{"site": TRAP, "min": -1, "max": 9, "bound": 2}]
    body = f"specwb_recorder.record(step=0, parents=[0, 0], token_ids=[1, 2], index_sites={sites!a})"
    (tmp_path / "test_engine.py").write_text(f"def test_it(specwb_recorder):\n    {body}\n")
    done = run_pytest(tmp_path)
    assert "error::owned" in done.stdout, done.stdout + done.stderr
    assert acting(done.stdout + done.stderr) == []


def test_no_checkpoint_acts_through_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"model_type": TRAP, "hidden_size": TRAP, "architectures": [TRAP]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("text", "json"):
        run_command(["doctor", "--model", str(tmp_path), "--draft", str(tmp_path), "--format", name])
        printed = capsys.readouterr()
        assert "pair" in printed.out or "load_report" in printed.out
        assert acting(printed.out + printed.err) == []


def test_the_safe_function_keeps_what_does_not_act() -> None:
    assert safe_line("a::b ## [x]") == "a::b ## [x]"
    assert safe_line("  ::set-output") == "  ⟨003A⟩:set-output"
    assert safe_lines("::a\n ::b") == "⟨003A⟩:a\n ⟨003A⟩:b"
    assert json.loads(safe_json({TRAP: [TRAP]})) == {TRAP: [TRAP]}
