"""Real campaigns on a tiny pair: forty cases on Ray and a killed worker, a bad case told, an odd machine."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.cli.pair_dirs import write_pair
from tracing.reader import open_run
from workbench.campaign.ledger import outcomes
from workbench.campaign.merged import merge
from workbench.campaign.plan import PlanRequest, make_plan, read_plan
from workbench.campaign.run import Where, run_plan
from workbench.campaign.worker import OURS, WorkerJob
from workbench.cli.run import run_command

OVER = "tree=8/2/3,6/1/2,kv_layout=contiguous,paged"


def write_prompts(path: Path, *texts: str) -> None:
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty cases, a planted fault in most, on two workers, one of which is killed."""
    made = tmp_path_factory.mktemp("campaign")
    teacher, drafter = write_pair(made)
    write_prompts(made / "prompts.jsonl", "ab", "c" * 99)
    argv = ["campaign", "plan", str(made / "prompts.jsonl"), "--over", OVER, "--fault", "sibling-leak"]
    argv += ["--fault", "next-kv-head", "--fault", "scale-left-at-one", "--max-new-tokens", "5"]
    argv += ["--model", str(teacher), "--draft", str(drafter), "--cases", "40"]
    assert run_command([*argv, "--out", str(made / "nightly")]) == 0
    killer = Thread(target=kill_a_worker, args=(made / "nightly",), daemon=True)
    killer.start()
    run_command(["campaign", "run", str(made / "nightly"), "--on", "ray", "--workers", "2", "--threads", "1"])
    killer.join(timeout=1)
    return made / "nightly"


def kill_a_worker(folder: Path) -> None:
    """Kill the first worker that has finished a case."""
    while not (ledgers := [path for path in folder.glob("results/w*.jsonl") if path.stat().st_size]):
        time.sleep(0.05)
    os.kill(int(ledgers[0].stem.split("-")[-2]), signal.SIGKILL)


def merged(folder: Path, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    run_command(["campaign", "merge", str(folder), "--format", "json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_every_case_is_judged_once_and_the_faults_are_found(folder: Path, capsys: Any) -> None:
    told = merged(folder, capsys)
    assert (told["missing"], told["problems"]) == ([], {})
    numbers = [each["number"] for each in outcomes(folder) if not each["canary"]]
    assert sorted(numbers) == sorted(set(numbers))
    assert (
        len(list(folder.glob("results/w*.jsonl"))) == 3
    )  # two workers, and the one in the place of the killed
    assert told["faults"]["never_noticed"] == []
    assert {name for group in told["groups"] for name in group["faults"]} == {
        *("sibling-leak", "next-kv-head", "scale-left-at-one")
    }
    assert set(told["verdicts"]) <= {"ok", "inconclusive"}
    assert told["by_depth"]


def test_a_machine_whose_operator_is_an_ulp_off_is_named(folder: Path, tmp_path: Path, capsys: Any) -> None:
    """No case notices the last bit of a norm; the canaries do."""
    about = read_plan(folder).about
    request = PlanRequest(
        suite="code", cases=1, model=about["model"], draft=about["draft"], max_new_tokens=3, over="tree=6/1/2"
    )
    plan = make_plan(replace(request, suite=about["suite"]))
    for name in ("one", "other", "third"):
        job = WorkerJob(
            folder=str(tmp_path), name=name, model=request.model, draft=request.draft, max_new_tokens=3
        )
        factory = "attack.odd_machine:make_biased" if name == "other" else OURS
        run_plan(plan, job, Where("shard"), lambda _: None, factory)
    told = merge(plan, outcomes(tmp_path))
    assert told.machines.odd == {"other": [0]}
    assert told.verdict == "numeric"
    assert {outcome["num_findings"] for outcome in outcomes(tmp_path)} == {0}


def test_traces_of_findings_are_kept_and_can_be_opened(folder: Path, capsys: Any) -> None:
    for group in merged(folder, capsys)["groups"]:
        run = open_run(folder / group["run"])
        assert run.findings[0].moment.prompt_id == group["example"]
    clean = [each for each in outcomes(folder) if each["exit_code"] == 0 and not each["canary"]]
    assert all(each["run"] is None for each in clean)


def test_view_prints_a_campaign(folder: Path, capsys: Any) -> None:
    assert run_command(["view", str(folder), "--text"]) == 0
    assert "cause " in capsys.readouterr().out
    assert run_command(["view", str(folder), "--svg", str(folder / "x.svg")]) == 2


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


def test_a_long_text_is_cut_before_it_is_found_too_long(folder: Path, tmp_path: Path, capsys: Any) -> None:
    about = read_plan(folder).about
    argv = ["campaign", "plan", "synthetic:2:64", "--over", "tree=6/1/2", "--out", str(tmp_path / "p")]
    run_command([*argv, "--model", about["model"], "--draft", about["draft"], "--max-new-tokens", "3"])
    run_command(["campaign", "run", str(tmp_path / "p"), "--on", "shard=0/1"])
    told = merged(tmp_path / "p", capsys)
    assert told["problems"] == {}
    assert {each["verdict"] for each in outcomes(tmp_path / "p")} <= {"ok", "inconclusive"}


def test_a_fault_that_is_in_no_path_is_refused(tmp_path: Path) -> None:
    argv = ["campaign", "plan", "code", "--out", str(tmp_path / "p"), "--fault"]
    assert run_command([*argv, "positions-from-one"]) == 2
    assert run_command([*argv, "mask"]) == 2
    assert run_command(["campaign", "run", str(tmp_path)]) == 2
