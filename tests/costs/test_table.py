"""The table of costs: what a goal means, what is not measured is reported, long runs are legal and whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from costs.__main__ import main
from costs.catalogue import COSTS, chosen, measured
from costs.long_run import write_long_run
from costs.row import Cost, Goal, Row
from costs.table import as_json, as_text, exit_code
from costs.workshop import Workshop
from tracing.errors import EnvironmentProblemError, UsageError
from tracing.integrity import verify_run
from tracing.reader import open_run
from workbench.judge.align import align
from workbench.judge.recorded.check import check_run


def row(value: float | None, goal: Goal | None = None) -> Row:
    return Row(name="a.b", value=value, unit="s", how="so", goal=goal, spread=(1.0, 2000.0))


@pytest.mark.parametrize(
    ("value", "goal", "held", "code"),
    [
        (3.0, Goal(3), True, 0),
        (3.1, Goal(3), False, 1),
        (3.0, Goal(3, at_least=True), True, 0),
        (2.9, Goal(3, at_least=True), False, 1),
        (None, Goal(3), None, 4),
        (None, None, None, 0),
        (9.0, None, None, 0),
    ],
)
def test_a_goal_is_held_up_to_its_limit(
    value: float | None, goal: Goal | None, held: bool, code: int
) -> None:
    one = row(value, goal)
    assert (one.held, exit_code([one])) == (held, code)
    assert exit_code([one, row(9.0, Goal(1))]) == 1
    assert json.loads(json.dumps(as_json([one]), allow_nan=False))["costs"][0]["held"] == held
    head, line = as_text([one]).splitlines()
    assert ("NO" in line) == (held is False)
    assert len(head) > 0


def test_nothing_measured_is_not_all_held() -> None:
    assert exit_code([]) == 4


def test_rows_are_chosen_by_their_name_or_their_groups() -> None:
    names = [(cost.name, sorted(rows)) for cost, rows in chosen(COSTS, ["check.rate", "disk"])]
    assert names == [("disk", ["disk.step"]), ("check", ["check.rate"])]
    with pytest.raises(UsageError, match=r"check\.rate"):
        chosen(COSTS, ["check.speed"])


@pytest.mark.parametrize(
    "problem", [ModuleNotFoundError("no", name="torch"), EnvironmentProblemError("no device, no torch")]
)
def test_what_cannot_be_measured_is_a_row_that_says_why(problem: Exception) -> None:
    """A base install has no torch; the rows that need none are measured all the same."""

    def measure(_: Workshop) -> Iterator[Row]:
        yield Row(name="x.first", value=1.0, unit="", how="")
        raise problem

    cost = Cost("x", {"x.first": None, "x.second": Goal(1)}, measure)
    with Workshop() as workshop:
        first, second = measured(cost, frozenset(cost.rows), workshop)
    assert (first.value, second.value, second.goal) == (1.0, None, Goal(1))
    assert "torch" in second.how


@pytest.mark.parametrize("num_steps", [1, 64, 100])
def test_a_long_run_is_whole_legal_and_as_long_as_asked(tmp_path: Path, num_steps: int) -> None:
    """A rate over steps that break a rule, or over fewer steps, would be another rate."""
    write_long_run(tmp_path / "run", num_steps)
    assert verify_run(tmp_path / "run").is_whole
    checked = check_run(tmp_path / "run")
    assert (checked.num_steps, checked.findings) == (num_steps, ())
    assert sum(counts.held for path in checked.paths for counts in path.counts.values()) > 50 * num_steps


def test_the_differing_run_differs_in_its_last_step_only(tmp_path: Path) -> None:
    write_long_run(tmp_path / "a", 130)
    write_long_run(tmp_path / "b", 130, last_token=5)
    one, other = (open_run(tmp_path / name).path("fused").batches() for name in "ab")
    found = align(one, other)
    assert found.num_steps == 129
    assert [str(each.moment) for each in found.differences] == ["2:0:1:accept"]


def test_a_run_for_the_screen_is_legal_on_both_paths(tmp_path: Path) -> None:
    run = write_long_run(tmp_path / "run", 70, num_nodes=6, for_screen=True)
    assert verify_run(run).is_whole
    checked = check_run(run)
    assert [path.name for path in checked.paths] == ["fused", "reference"]
    assert checked.findings == ()


def test_the_command_prints_rows_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disk", "--format", "json"]) == 0
    (cost,) = json.loads(capsys.readouterr().out)["costs"]
    assert (cost["name"], cost["held"], cost["unit"]) == ("disk.step", True, "KB")
    assert main(["nothing"]) == 2
    assert "disk.step" in capsys.readouterr().err
