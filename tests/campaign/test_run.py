"""Every case is accounted for exactly once, whoever dies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.fakes import FACTORY, outcome_of
from tracing.errors import UsageError
from workbench.campaign.ledger import RESULTS, Ledger, finished, outcomes
from workbench.campaign.merged import merge
from workbench.campaign.plan import Plan, PlanRequest, make_plan
from workbench.campaign.run import Where, parse_where, run_plan
from workbench.campaign.worker import WorkerJob
from workbench.cli.campaign import Progress


def planned(cases: int = 12, canaries: int = 1) -> Plan:
    return make_plan(PlanRequest(suite="code", cases=cases, canaries=canaries))


def run(folder: Path, plan: Plan, where: Where) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    run_plan(plan, WorkerJob(folder=str(folder), name="here"), where, told.append, FACTORY)
    return told


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_killed_workers_are_replaced(tmp_path: Path, kind: str) -> None:
    """One case kills its worker once and runs again; one kills it each time and is lost, with that said."""
    plan = planned()
    (tmp_path / "kill-once-3").touch()
    (tmp_path / "kill-always-7").touch()
    told = run(tmp_path, plan, Where(kind, workers=2))
    merged = merge(plan, outcomes(tmp_path))
    assert merged.missing == []
    assert merged.problems.keys() == {7}
    assert merged.verdicts == {"ok": 11, "lost": 1}
    assert (merged.verdict, merged.exit_code) == ("inconclusive", 3)
    assert len(told) == 13  # the canary twice
    assert sorted(merged.machines.cases) == ["w0", "w1"]
    assert run(tmp_path, plan, Where(kind, workers=2)) == []


def test_a_driver_that_died_goes_on_where_it_was(tmp_path: Path) -> None:
    plan = planned()
    ledger = Ledger(tmp_path, "w0-before")
    for case in plan.cases[:5]:
        ledger.add(outcome_of(case))
    path = tmp_path / RESULTS / "w0-before.jsonl"
    path.write_bytes(path.read_bytes()[:-9])  # the last line was cut
    assert finished(tmp_path) == {0, 1, 2, 3}
    told = run(tmp_path, plan, Where("local", workers=1))
    assert [outcome["number"] for outcome in told] == [0, *range(4, 12)]
    assert merge(plan, outcomes(tmp_path)).verdict == "ok"


def test_the_bar_tells_findings_and_lost_cases() -> None:
    progress = Progress(begun=time.monotonic() - 10)
    for case in planned(4, canaries=0).cases:
        progress.after(
            outcome_of(case, num_findings=case.number % 2, verdict="lost" if case.number == 3 else "ok")
        )
    assert progress.told() == "0.40 cases/s, 2 with findings, 1 lost"


def test_shards_are_disjoint_and_together_all(tmp_path: Path) -> None:
    plan = planned()
    shards = [run(tmp_path, plan, Where("shard", index=index, of=3)) for index in range(3)]
    numbers = [outcome["number"] for told in shards for outcome in told if not outcome["canary"]]
    assert sorted(numbers) == list(range(1, 12))
    assert all(told[0]["canary"] for told in shards)
    assert merge(plan, outcomes(tmp_path)).missing == []


def test_outcomes_of_another_plan_do_not_count(tmp_path: Path) -> None:
    run(tmp_path, planned(), Where("shard"))
    other = make_plan(PlanRequest(suite="chat", cases=12))
    assert len(merge(other, outcomes(tmp_path)).missing) == 12


@pytest.mark.parametrize("text", ["cluster", "shard", "shard=3/3", "shard=a/b", "local=x"])
def test_where_it_cannot_run_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--on should be"):
        parse_where(text, None)


def test_where_it_runs() -> None:
    assert parse_where("ray=auto", 3) == Where("ray", address="auto", workers=3)
    assert parse_where("shard 1/4", None) == Where("shard", index=1, of=4)
