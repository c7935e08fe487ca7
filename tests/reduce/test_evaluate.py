"""The first of several cases that keeps the finding, whoever ends first; nothing is run twice."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.reduce.dying import FINDING, serve
from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.reduce.case import RunCase
from workbench.reduce.evaluate import Evaluator, TimeIsUpError
from workbench.reduce.kept import Outcomes, begin
from workbench.reduce.outcome import CaseOutcome, CaseTrial, Same
from workbench.reduce.search import MOST_TRIALS, observe
from workbench.reduce.source import RunSource
from workbench.reduce.workers import DIED, Workers

TARGET = Same("RULE", "verify", "fused")
BASE = RunCase(turns=((1, 2, 3),), settings=DecodeSettings())


def case(number: int) -> RunCase:
    return replace(BASE, seed=number)


class Backwards:
    """Ends what was begun last first; cases with these seeds keep the finding."""

    def __init__(self, keeping: set[int], capacity: int = 3) -> None:
        self.keeping, self.capacity = keeping, capacity
        self.begun: list[int] = []
        self.waiting: list[tuple[str, CaseTrial]] = []

    def submit(self, key: str, trial: CaseTrial) -> None:
        assert len(self.waiting) < self.capacity
        self.begun.append(trial.case.seed)
        self.waiting.append((key, trial))

    def wait(self, seconds: float | None) -> list[tuple[str, CaseOutcome]]:
        key, trial = self.waiting.pop()
        kept = trial.case.seed in self.keeping
        return [(key, CaseOutcome(finding=FINDING if kept else None))]


def evaluator(runner: Any, **more: Any) -> Evaluator:
    return Evaluator(runner, Outcomes(), TARGET, **more)


def test_the_first_in_order_is_taken_not_the_first_to_end() -> None:
    runner = Backwards({2, 4})
    asked = evaluator(runner)
    assert asked.first([case(number) for number in range(6)]) == 2
    assert 5 not in runner.begun  # no case is begun that cannot matter any more


def test_what_is_known_is_not_run_again() -> None:
    runner = Backwards({2})
    asked = evaluator(runner)
    assert asked.first([case(0), case(1)]) is None
    begun = len(runner.begun)
    assert asked.first([case(1), case(0)]) is None
    assert len(runner.begun) == begun


def test_another_finding_is_not_the_finding_and_a_case_that_our_path_fails_is_not_taken() -> None:
    other = {**FINDING, "stage": "draft"}
    outcomes = [
        CaseOutcome(finding=other),
        CaseOutcome(finding=FINDING, control="ours too"),
        CaseOutcome(problem="no"),
    ]
    assert not any(outcome.keeps(TARGET) for outcome in outcomes)
    assert CaseOutcome(finding=FINDING).keeps(TARGET)


def test_the_time_limit_ends_a_search() -> None:
    with pytest.raises(TimeIsUpError):
        evaluator(Backwards({0}), deadline=time.monotonic() - 1).first([case(0)])


class Sometimes(Backwards):
    """Shows the finding in every third run."""

    def wait(self, seconds: float | None) -> list[tuple[str, CaseOutcome]]:
        key, _ = self.waiting.pop()
        return [(key, CaseOutcome(finding=FINDING if len(self.begun) % 3 == 0 else None))]


def test_a_finding_that_comes_and_goes_gets_as_many_trials_as_it_needs() -> None:
    seen = observe(Sometimes(set()), Outcomes(), BASE, tries=5)
    assert seen.target == TARGET
    assert 0.2 < seen.rate < 0.5
    assert 4 < seen.most_trials <= MOST_TRIALS
    assert (1 - seen.rate) ** seen.most_trials <= 0.05


def test_a_clean_run_is_nothing_to_reduce() -> None:
    with pytest.raises(UsageError, match="3 runs found nothing"):
        observe(Backwards(set()), Outcomes(), BASE, tries=3)


def test_outcomes_survive_a_line_that_was_cut(tmp_path: Path) -> None:
    asked = {"source": {}, "cases": [BASE.as_json()]}
    outcomes = begin(tmp_path / "out", asked)
    outcomes.add("a", CaseOutcome(finding=FINDING, emitted=((1, 2),), num_accepted=((1,),), committed_len=3))
    outcomes.add("b", CaseOutcome(problem="no"))
    file = tmp_path / "out" / "outcomes.jsonl"
    file.write_text(file.read_text() + '{"case": "c", "find')
    again = begin(tmp_path / "out", asked)
    assert (again.get("a"), again.get("b"), again.get("c")) == (outcomes.get("a"), outcomes.get("b"), None)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    begin(tmp_path / "out", {"cases": [1]})
    with pytest.raises(UsageError, match="something else"):
        begin(tmp_path / "out", {"cases": [2]})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="no reduction"):
        begin(tmp_path / "notes", {"cases": [1]})


def test_a_case_goes_through_json_unchanged() -> None:
    made = replace(BASE, eager=("norm",), cut=replace(BASE.cut, vocab=(1, 2, 3), hidden=16, seed=1))
    made = replace(made, cut=replace(made.cut, teacher=replace(made.cut.teacher, layers=(0, 3))))
    assert RunCase.from_json(made.as_json(), "here") == made
    assert made.key != BASE.key
    with pytest.raises(UsageError, match="here should hold"):
        RunCase.from_json({"turns": 3}, "here")


def test_a_path_that_ends_its_process_costs_one_case() -> None:
    with Workers(RunSource(), 1, serve) as workers:
        asked = evaluator(workers)
        assert asked.first([case(0), case(1), case(2)]) == 2
    died = asked.outcomes.get(case(1).key)
    assert died is not None
    assert died.problem == f"{DIED} (exit code 9)"
