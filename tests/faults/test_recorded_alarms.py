"""Alarms over a run need a long one: rows recorded without decoding, judged as `specwb check` does it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from invariants.examples import StepRow
from tests.invariants.test_alarms import ALARMS, GENTLE, NEAR_MISSES, NO_LIMIT
from tracing.recorder import RunWriter
from workbench.judge.recorded.check import check_run
from workbench.judge.recorded.checked import CheckedRun

LIMITS = asdict(NO_LIMIT) | {"eos_token_ids": sorted(NO_LIMIT.eos_token_ids or ())}
CLEAN = GENTLE * 10


def recorded(folder: Path, rows: list[StepRow]) -> CheckedRun:
    """Write the rows as turns of one step each, and check them."""
    with RunWriter(folder, {"limits": LIMITS}) as writer:
        trace = writer.path("fused")
        for turn, row in enumerate(rows):
            values = {name: value for name, value in row.items() if value is not None}
            keys = {name: values.pop(name) for name in ("prompt_id", "turn", "step")}
            with trace.step(**{**keys, "turn": turn}) as step:
                step.record(**values)
    return check_run(folder)


@pytest.mark.parametrize("rule", ALARMS)
def test_a_long_run_sets_its_alarm_off_and_no_other(tmp_path: Path, rule: str) -> None:
    run = recorded(tmp_path / "run", ALARMS[rule])
    assert [(finding.rule, finding.severity) for finding in run.findings] == [(rule, "warning")]
    assert (run.verdict, run.exit_code) == ("ok", 0)
    assert run.remark.startswith("1 warnings, rests on ")


@pytest.mark.parametrize("rule", NEAR_MISSES)
def test_a_run_just_short_of_it_does_not(tmp_path: Path, rule: str) -> None:
    run = recorded(tmp_path / "run", NEAR_MISSES[rule])
    assert rule not in [finding.rule for finding in run.findings]
    assert run.paths[0].counts[rule].held == 1


def test_a_long_clean_run_is_silent_and_every_alarm_listened(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", CLEAN)
    assert run.findings == ()
    listened = {rule for rule, counts in run.paths[0].counts.items() if rule in ALARMS and counts.held}
    one_of_all = {
        "STAT005",
        "STAT009",
        "STAT010",
        "STAT011",
    }  # length, prompt, row: there is nothing to compare
    assert listened == set(ALARMS) - one_of_all
