"""`specwb check`: every rule over every step, exit codes, damaged traces, selection, speed of starting."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from invariants.batch import group as groups
from invariants.examples import StepRow
from tests.cli.conftest import Specwb
from tests.cli.recorded import leak, write_run
from tracing.recorder import RunWriter
from workbench.judge.recorded import blocks

ROOT = Path(__file__).parents[2]


def test_a_legal_run_holds(specwb: Specwb, tmp_path: Path) -> None:
    answer = specwb("check", write_run(tmp_path / "run"))
    assert answer.exit_code == 0
    assert re.match(
        r"verdict     ok \(rests on 6 of 6 steps, 6 of 6 stages, (\d+) of \1 rules\)\n", answer.out
    )
    assert answer.err == ""


def test_a_leak_is_one_line_with_its_moment(specwb: Specwb, tmp_path: Path) -> None:
    answer = specwb("check", write_run(tmp_path / "run", change=leak))
    lines = [line for line in answer.out.splitlines() if " MASK001 " in f" {line} "]
    assert answer.exit_code == 1
    assert lines[0].startswith("0:0:2:verify:11 MASK001 structural fused guilty=fused:")
    assert "MASK001 non-ancestor-visible: 1 finding in 1 step, first at 0:0:2:verify:11" in answer.out


def test_every_step_of_a_long_run_is_reached(
    specwb: Specwb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks, groups and batches have borders; a fault right at, before and after each of them is found."""
    monkeypatch.setattr(blocks, "BLOCK_STEPS", 2048)
    monkeypatch.setattr(groups, "MAX_GROUP", 512)
    numbers = {0, 1, 63, 64, 65, 511, 512, 513, 2046, 2047, 2048, 2049, 2099}
    seen = iter(range(10_000))

    def spoil(row: StepRow) -> StepRow:
        if next(seen) in numbers:
            row["other_visible"] = row["other_visible"] + 1
        return row

    run = write_run(tmp_path / "run", 2100, num_nodes=4, change=spoil)
    answer = specwb("check", run, "--format", "json", "--max-per-rule", "0")
    rules = {rule["rule"]: rule for rule in json.loads(answer.out)["runs"][0]["paths"][0]["rules"]}
    assert rules["MASK010"]["violated"] == len(numbers)
    assert rules["MASK010"]["held"] == 2100 - len(numbers)


def test_counts_are_those_of_the_loop(specwb: Specwb, tmp_path: Path) -> None:
    """What the screens clear is counted exactly as the loop would have counted it."""
    from invariants.catalogue import CATALOGUE
    from invariants.run import Checker
    from tracing.reader import open_run
    from workbench.judge.recorded.context import read_context

    folder = write_run(tmp_path / "run", 90, num_nodes=8, change=leak)
    run, checked = open_run(folder), json.loads(specwb("check", folder, "--format", "json").out)
    checker = Checker(read_context(run.manifest))
    for row in run.path("fused"):
        checker.step("fused", row)
    checker.finish()
    totals = checker.totals()
    totals["not_checked"] += 90 * sum(rule.scope == "launch" for rule in CATALOGUE)  # a run of no engine
    assert checked["runs"][0]["invariants"] == totals


def test_findings_are_capped_and_counted(specwb: Specwb, tmp_path: Path) -> None:
    def spoil(row: StepRow) -> StepRow:
        return row | {"other_visible": row["other_visible"] + 1}

    run = write_run(tmp_path / "run", 20, change=spoil)
    answer = specwb("check", run, "--max-per-rule", 3)
    assert sum(" MASK010 structural" in line for line in answer.out.splitlines()) == 1
    assert "and 2 possible consequences: MASK010 2 (--format json lists them)" in answer.out
    assert "240 findings in 20 steps" in answer.out


def test_select_and_ignore(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", change=leak)
    assert specwb("check", run, "--select", "TREE,POS001").exit_code == 0
    assert specwb("check", run, "--select", "non-ancestor-visible").exit_code == 1
    assert specwb("check", run, "--ignore", "MASK,ACC").exit_code == 0
    wrong = specwb("check", run, "--select", "MASQ001")
    assert wrong.exit_code == 2
    assert "MASK001" in wrong.err


def test_the_users_pyproject_holds(specwb: Specwb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", change=leak)
    (tmp_path / "pyproject.toml").write_text('[tool.specwb]\nignore = ["MASK001"]\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert specwb("check", run).exit_code == 0
    (tmp_path / "pyproject.toml").write_text('[tool.specwb]\nignroe = ["MASK001"]\n')
    answer = specwb("check", run)
    assert answer.exit_code == 2
    assert "did you mean ignore?" in answer.err
    (tmp_path / "pyproject.toml").write_text("[tool.specwb\n")
    assert "no valid TOML" in specwb("check", run).err


def test_selecting_nothing_is_refused(specwb: Specwb, tmp_path: Path) -> None:
    answer = specwb("check", write_run(tmp_path / "run"), "--select", "MASK001", "--ignore", "MASK")
    assert answer.exit_code == 2
    assert "leave no rule" in answer.err


def test_warnings_alone_do_not_fail(specwb: Specwb, tmp_path: Path) -> None:
    """All drafts alike is an alarm that legal runs may raise."""

    def dull(row: StepRow) -> StepRow:
        return row | {"incomplete": "a hook was not called"} if row["step"] == 1 else row

    answer = specwb("check", write_run(tmp_path / "run", 12, change=dull))
    assert answer.exit_code == 0
    assert "(warning)" in answer.out
    assert "verdict     ok (" in answer.out


def test_the_fed_path_of_a_staged_run_is_not_judged_on_state(specwb: Specwb, tmp_path: Path) -> None:
    """The reference accepts on the path's choices; after a near tie its own choice differs by right."""
    from tests.cli.recorded import legal_rows

    with RunWriter(tmp_path / "run", {"lockstep": "staged"}) as writer:
        for name in ("fused", "reference"):
            trace = writer.path(name)
            for row in legal_rows(3):
                values = {key: value for key, value in row.items() if value is not None}
                keys = {key: values.pop(key) for key in ("prompt_id", "turn", "step")}
                if name == "reference":
                    values["target_token_ids"] = (values["target_token_ids"] + 1) % 97
                    values.pop("target_top_ids"), values.pop("target_top_logits")
                with trace.step(**keys) as step:
                    step.record(**values)
    answer = specwb("check", tmp_path / "run", "--format", "json")
    assert answer.exit_code == 0
    reference = json.loads(answer.out)["runs"][0]["paths"][1]
    rules = {rule["rule"]: rule for rule in reference["rules"]}
    assert rules["ACC002"]["not_checked"] == 3
    assert "fed" in next(iter(rules["ACC002"]["reasons"]))
    assert rules["TREE001"]["held"] == 3


def test_check_imports_no_torch_and_starts_at_once(tmp_path: Path) -> None:
    """In processor time, so that a busy machine does not decide."""
    run = write_run(tmp_path / "run")
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from workbench.cli.run import run_command\n"
        "code = run_command(['check', sys.argv[2]])\n"
        "heavy = {'torch', 'transformers', 'textual', 'hypothesis', 'pytest', 'pyarrow.compute'}\n"
        "heavy |= {'workbench.judge.evidence'}\n"
        "heavy &= set(sys.modules)\n"
        "print(code, sorted(heavy), time.process_time())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), str(run)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    code, heavy, seconds = done.stdout.splitlines()[-1].split(" ")
    assert (code, heavy) == ("0", "[]")
    assert float(seconds) < 0.4


def test_what_was_doubtful_when_the_checkpoints_were_loaded_goes_with_every_verdict(
    specwb: Specwb, tmp_path: Path
) -> None:
    from tests.cli.recorded import LIMITS, SETTINGS

    checks = [
        {"id": "drafter.aux_layers", "status": "warning", "sentence": "the aux layers are guessed"},
        {"id": "drafter.d2t", "status": "ok", "sentence": "the map is a map"},
    ]
    facts = {"settings": SETTINGS, "limits": LIMITS, "models": {"load_report": {"checks": checks}}}
    run = write_run(tmp_path / "run", manifest=facts)
    for name in ("text", "json", "junit", "sarif", "github"):
        answer = specwb("check", run, "--format", name)
        assert answer.exit_code == 0
        assert "the aux layers are guessed [drafter.aux_layers]" in answer.out, name
        assert "the map is a map" not in answer.out
