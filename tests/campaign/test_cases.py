"""A real campaign on a tiny pair, in this process: judged, merged, a planted fault found, a bad case told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.pair_dirs import write_pair
from tracing.reader import open_run
from workbench.campaign.ledger import outcomes
from workbench.cli.run import run_command

OVER = "tree=8/2/3,6/1/2,kv_layout=contiguous,paged"


def write_prompts(path: Path, *texts: str) -> None:
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("campaign")
    teacher, drafter = write_pair(made)
    write_prompts(made / "prompts.jsonl", "ab", "c" * 99)
    argv = ["campaign", "plan", str(made / "prompts.jsonl"), "--over", OVER, "--fault", "sibling-leak"]
    argv += ["--model", str(teacher), "--draft", str(drafter), "--max-new-tokens", "5", "--cases", "6"]
    assert run_command([*argv, "--out", str(made / "nightly")]) == 0
    run_command(["campaign", "run", str(made / "nightly"), "--on", "shard=0/1"])
    return made / "nightly"


def merged(folder: Path, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    run_command(["campaign", "merge", str(folder), "--format", "json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_every_case_is_judged_and_the_fault_is_found(folder: Path, capsys: Any) -> None:
    told = merged(folder, capsys)
    assert told["missing"] == []
    assert told["problems"] == {}
    assert told["faults"] == {"noticed": 3, "missed": [], "never_noticed": []}
    assert {group["faults"][0] for group in told["groups"]} == {"sibling-leak"}
    assert set(told["verdicts"]) <= {"ok", "inconclusive"}


def test_traces_of_findings_are_kept_and_can_be_opened(folder: Path, capsys: Any) -> None:
    for group in merged(folder, capsys)["groups"]:
        run = open_run(folder / group["run"])
        assert run.findings[0].moment.prompt_id == group["example"]
    clean = [each for each in outcomes(folder) if each["exit_code"] == 0 and not each["canary"]]
    assert all(each["run"] is None for each in clean)


def test_a_second_run_has_nothing_to_do(folder: Path) -> None:
    before = sorted((folder / "results").iterdir())
    run_command(["campaign", "run", str(folder)])
    assert sorted((folder / "results").iterdir()) == before


def test_a_case_that_cannot_run_ends_nothing_but_itself(folder: Path, tmp_path: Path, capsys: Any) -> None:
    about = json.loads((folder / "plan.json").read_text())["about"]
    prompts, out = tmp_path / "long.jsonl", tmp_path / "p"
    write_prompts(prompts, "a", "x" * 900)
    argv = ["campaign", "plan", str(prompts), "--over", "tree=6/1/2", "--out", str(out)]
    run_command([*argv, "--model", about["model"], "--draft", about["draft"], "--max-new-tokens", "3"])
    run_command(["campaign", "run", str(tmp_path / "p"), "--on", "shard=0/1"])
    told = merged(tmp_path / "p", capsys)
    assert list(told["problems"]) == ["1"]
    assert "positions" in told["problems"]["1"]
    assert told["exit_code"] == 4


def test_a_fault_that_is_in_no_path_is_refused(tmp_path: Path) -> None:
    argv = ["campaign", "plan", "code", "--out", str(tmp_path / "p"), "--fault"]
    assert run_command([*argv, "positions-from-one"]) == 2
    assert run_command([*argv, "mask"]) == 2
    assert run_command(["campaign", "run", str(tmp_path)]) == 2
