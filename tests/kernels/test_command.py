"""`specwb kernels` as it is typed: what it prints, where, and its exit codes; one candidate, run once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from workbench.cli.kernels_page import kernels_page
from workbench.cli.run import run_command
from workbench.kernels.call import CaseResult
from workbench.kernels.judge.own import JudgedOutputs, Refusal
from workbench.kernels.judge.published import PublishedVerdict
from workbench.kernels.reports import Gate, KernelReport

DATA = Path(__file__).parents[1] / "data/kernels"


def test_list_names_levels_rules_and_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["kernels", "list", "npu_rms_norm", "kv_gather", "--format", "json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["operator"], first["level"], first["published_rule"]) == ("npu_rms_norm", 2, "norm_family")
    assert {case["values"] for case in second["cases"]} >= {"keys512", "empty", "nan"}
    assert run_command(["kernels", "list"]) == 0
    assert "npu_swiglu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["run", "npu_swigl"], 2, "there are"),
        (["run", "--candidate", "m:f"], 2, "name the operators"),
        (["run", "--candidate", "planted:none"], 2, "no planted bug"),
        (["run", "npu_swiglu", "--device", "cuda"], 3, "torch sees none"),
        (
            ["run", "npu_swiglu", "--keep", "x", "--candidate", "a:f", "--candidate", "b:f"],
            2,
            "one candidate",
        ),
        (["run", "--task", "nowhere"], 2, "validation/module.py"),
        (["judge", "nowhere"], 2, "expected what kernels run --keep writes"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str],
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_command(["kernels", *words]) == code
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_refused_candidate_is_kept_and_refused_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "kept")
    words = ["--candidate", "planted:swiglu-up-first", "--case", "static-fp32", "--keep", folder]
    assert run_command(["kernels", "run", *words]) == 1
    assert "KERNEL-VALUE" in capsys.readouterr().out
    assert run_command(["kernels", "judge", folder, "--format", "json"]) == 1
    (operator,) = json.loads(capsys.readouterr().out)["operators"]
    assert operator["correctness"]["status"] == "refused"
    assert operator["candidate"] == "planted:swiglu-up-first"


def test_the_page_shows_everything_and_runs_nothing_of_a_candidates() -> None:
    refused = JudgedOutputs((Refusal("KERNEL-VALUE", "<script>alert(1)</script>"),), 4)
    results = (
        CaseResult("npu_swiglu", "static", "ordinary", refused, PublishedVerdict(passed=True)),
        CaseResult("npu_swiglu", "nan", "nan", JudgedOutputs((), 4, used=0.5), None),
    )
    timing = {
        "seconds": 1e-3, "reference_seconds": 2e-3, "speedup": 2.0, "bytes_read": 8, "bytes_written": 4,
        "operations": 12, "bandwidth": 1e9, "arithmetic": 1e9, "bandwidth_share": 0.1,
        "arithmetic_share": 0.2,
    }  # fmt: skip
    wrong = KernelReport(
        kernel="npu_swiglu",
        level=2,
        candidate="<b>mine</b>",
        build=Gate("passed"),
        correctness=Gate("refused", "1 of 2 cases"),
        results=results,
        timing=timing,
    )
    text = kernels_page([wrong])
    assert "<title>specwb kernels</title>" in text
    assert all(word in text for word in ("Roofline", "KERNEL-VALUE", "Gates", "Scores", "npu_swiglu"))
    assert "<script>alert" not in text
    assert "<b>mine" not in text
