"""The check on a CUDA device: its commands exist; its record is kept, read, and believed no further."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

import gpu.__main__
from gpu.check import checked, in_process, keep
from gpu.plan import DTYPES, FAULTS, LAYOUTS, PLANTED, Step, steps
from workbench.cli.app import build_app
from workbench.faults.catalogue import chosen
from workbench.kernels.planted import PLANTED_BUGS
from workbench.npu.doctor import examine
from workbench.npu.verified import cuda_evidence, cuda_record


def context(command: click.Command) -> click.Context:
    """As the application makes it: a command keeps the help option of the first context that asks."""
    return click.Context(command, help_option_names=["-h", "--help"])


def test_every_command_of_the_plan_parses_and_runs_on_the_device() -> None:
    names = [step.name for step in steps()]
    assert {f"diff {dtype} {layout}" for dtype in DTYPES for layout in LAYOUTS} <= set(names)
    assert len(names) == len(set(names))
    for step in steps():
        command: click.Command = build_app()
        words = list(step.words)
        while isinstance(command, click.Group):
            below = command.get_command(context(command), words.pop(0))
            assert below is not None
            command = below
        values, _, _ = command.make_parser(context(command)).parse_args(words)
        assert values["device"] == "cuda"


def test_faults_and_bugs_of_the_plan_exist() -> None:
    assert len(chosen(FAULTS)) == len(FAULTS)
    assert set(PLANTED) <= PLANTED_BUGS.keys()


def record(tmp_path: Path, codes: dict[str, int], budget_s: float = 100.0) -> Path:
    def run(step: Step, _: float) -> tuple[int, str, str]:
        return (
            codes.get(step.name, step.exit_code),
            '{"verdict": "ok", "steps": 3, "near_ties": 0}',
            "why not",
        )

    made = checked(steps(), "A GPU", run, budget_s)
    made["versions"]["torch"] = "9.9"
    keep(made, tmp_path / "record.json")
    return tmp_path / "record.json"


def test_a_record_is_believed_on_its_own_device_and_version_only(tmp_path: Path) -> None:
    kept = cuda_record(record(tmp_path, {}))
    assert kept is not None
    assert (len(kept.passed), kept.failed, kept.not_run) == (len(list(steps())), (), ())
    assert cuda_evidence(kept, "A GPU", "9.9")[0]
    for here, torch in (("Another GPU", "9.9"), ("", "9.9"), ("A GPU", "9.8")):
        verified, how = cuda_evidence(kept, here, torch)
        assert not verified
        assert "not on this machine" in how


def test_failed_and_left_out_steps_are_named(tmp_path: Path) -> None:
    failed = cuda_record(record(tmp_path, {"operators": 1}))
    assert failed is not None
    assert cuda_evidence(failed, "A GPU", "9.9")[1].endswith("operators failed")
    late = cuda_record(record(tmp_path, {}, budget_s=0.0))
    assert late is not None
    assert not late.passed
    assert "faults not run" in cuda_evidence(late, "A GPU", "9.9")[1]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "specwb-cuda-1", "steps": [{"status": "fine"}]}']
)
def test_a_record_that_is_none_is_no_evidence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "record.json"
    file.write_text(text)
    assert cuda_record(file) is None
    assert cuda_record(tmp_path / "none") is None
    assert cuda_evidence(None, "A GPU", "9.9") == (False, "never run there; make test-cuda keeps its result")


def test_without_a_device_it_skips_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gpu.__main__.device_name", lambda: "")
    assert gpu.__main__.main() == 0
    assert capsys.readouterr().out == "test-cuda: skipped, torch sees no CUDA device\n"


def test_a_step_is_a_command_of_its_own() -> None:
    code, out, _ = in_process(Step("list", ("kernels", "list", "kv_gather", "--format", "json")), 60.0)
    assert code == 0
    assert json.loads(out)[0]["operator"] == "kv_gather"


def test_doctor_says_whether_it_ran() -> None:
    statements = {one.what: one for one in examine().statements}
    said = statements["both paths and the operators agree on a CUDA device"]
    assert said.how
    assert not said.verified or "steps passed" in said.how
