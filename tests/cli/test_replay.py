"""`specwb replay`: the judge fed from disk, alone and with models; faults in recorded rows are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Specwb
from tests.cli.replaying import STEP, Recorded, at, replayed, rules_at
from tests.cli.rewrite import Row, rewrite
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter

ROOT = Path(__file__).parents[2]


def test_alone_a_clean_run_is_ok(specwb: Specwb, recorded: Recorded) -> None:
    answer = specwb("replay", recorded.run, "--format", "json")
    summary = replayed(answer)
    assert answer.exit_code == 0
    assert summary["verdict"] == "ok"
    assert summary["emitted_token_ids"] == recorded.answer["emitted_token_ids"]
    assert summary["mean_accepted"] == recorded.answer["mean_accepted"]
    assert {name: summary["coverage"][name] for name in ("steps", "rejections", "branches")} == {
        name: recorded.answer["coverage"][name] for name in ("steps", "rejections", "branches")
    }


def test_alone_it_needs_no_torch(recorded: Recorded) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from workbench.cli.run import run_command\n"
        "assert run_command(['replay', sys.argv[2]]) == 0\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(ROOT), str(recorded.run)], check=True)


def test_one_step_and_a_range(specwb: Specwb, recorded: Recorded) -> None:
    steps = recorded.answer["steps"]
    one = replayed(specwb("replay", recorded.run, "--step", "0:0:2", "--format", "json"))
    assert (one["steps"], one["unjudged_steps"], one["coverage"]["steps"]) == (steps, steps - 1, 1)
    some = replayed(specwb("replay", recorded.run, "--step", "1:3", "--format", "json"))
    assert some["coverage"]["steps"] == 2
    for answer, num in ((one, 1), (some, 2)):
        assert (answer["verdict"], answer["exit_code"]) == ("inconclusive", 4)
        assert answer["share"]["steps"] == {"num": num, "of": steps}
    assert specwb("replay", recorded.run, "--step", "x").exit_code == 2


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("2:1", "2:1 holds none"),
        ("2:2", "2:2 holds none"),
        (":0", ":0 holds none"),
        ("90:95", "holds none of the"),
        ("90:", "holds none of the"),
        ("0:0:99", "holds none of the"),
        ("1:0:0", "holds none of the"),
    ],
)
def test_steps_that_are_not_there_are_refused(
    specwb: Specwb, recorded: Recorded, part: str, reason: str
) -> None:
    """A range without a step judges nothing, and says nothing of the run."""
    done = specwb("replay", recorded.run, "--step", part)
    assert done.exit_code == 2
    assert reason in done.err
    assert done.out == ""


def test_alone_a_wrong_acceptance_is_found(specwb: Specwb, recorded: Recorded, tmp_path: Path) -> None:
    """The engine stopped one node short: the text is right, the speed is not."""

    def shorten(row: Row) -> Row:
        if len(row["accepted_nodes"]) < 1:
            return row
        last = int(row["accepted_nodes"][-1])
        return row | {
            "accepted_nodes": row["accepted_nodes"][:-1],
            "emitted_token_ids": row["emitted_token_ids"][:-1],
            "path_indices": row["path_indices"][:-1],
            "final_token_id": int(row["token_ids"][last]),
            "committed_len_after": row["committed_len_after"] - 1,
        }

    long_step = int(np.argmax([len(row["accepted_nodes"]) for row in open_run(recorded.run).path("fused")]))
    run = rewrite(recorded.run, tmp_path / "run", at(long_step, shorten))
    answer = specwb("replay", run, "--format", "json")
    summary = replayed(answer)
    assert answer.exit_code == 1
    assert (long_step, "JUDGE-ACCEPT-NODES") in rules_at(summary)
    assert summary["first_divergence"]["step"] == long_step
    assert all(finding["consequence"] for finding in summary["findings"] if finding["step"] > long_step)


def test_alone_a_different_choice_is_judged_as_asked(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    """The reference prefers its second choice: passed by the recording's judge, or by the gap asked for."""

    def second(row: Row) -> Row:
        leaf = int(np.flatnonzero(row["valid"])[-1])
        choices = row["target_token_ids"].copy()
        choices[leaf] = row["target_top_ids"][leaf, 1]
        logits = row["target_top_logits"].copy()
        logits[leaf, 1] = logits[leaf, 0] + 0.5
        return row | {"target_token_ids": choices, "target_top_logits": logits}

    run = rewrite(recorded.run, tmp_path / "run", at(STEP, second, "reference"))
    quiet = ("--format", "json")
    as_recorded = replayed(specwb("replay", run, *quiet))
    choice = (STEP, "JUDGE-VERIFY-CHOICE")
    assert choice not in rules_at(as_recorded)
    assert as_recorded["near_ties"] == 1
    assert choice in rules_at(replayed(specwb("replay", run, *quiet, "--tie-gap", "0.1")))
    assert choice not in rules_at(replayed(specwb("replay", run, *quiet, "--tie-gap", "1.0")))
    assert (STEP, "JUDGE-VERIFY-LOGITS") in rules_at(
        replayed(specwb("replay", run, *quiet, "--logit-gap", "0.1"))
    )
    unjudged = rewrite(run, tmp_path / "unjudged", lambda _, row: row | {"step_verdict": None})
    assert choice in rules_at(replayed(specwb("replay", unjudged, *quiet)))


def test_recorded_numeric_findings_have_other_allowances(specwb: Specwb, tmp_path: Path) -> None:
    from tests.cli.recorded import write_run

    numeric = Finding(
        "numeric",
        "fused",
        Moment(0, 0, 1, "verify", 2),
        "logits",
        gap=3.0,
        allowance=1.0,
        rule="JUDGE-VERIFY-LOGITS",
    )
    source = write_run(tmp_path / "source", 6)
    run = tmp_path / "run"
    with RunWriter(run, {"settings": open_run(source).manifest["settings"]}) as writer:
        trace = writer.path("fused")
        for row in open_run(source).path("fused"):
            values = {name: value for name, value in row.items() if value is not None}
            keys = {name: values.pop(name) for name in ("prompt_id", "turn", "step")}
            with trace.step(**keys) as step:
                step.record(**values)
        writer.add_finding(numeric)
    assert specwb("replay", run).exit_code == 1
    assert specwb("replay", run, "--allowance-factor", "2").exit_code == 1
    assert specwb("replay", run, "--allowance-factor", "4").exit_code == 0


def test_a_run_that_was_never_closed_is_not_called_ok(
    specwb: Specwb, recorded: Recorded, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    writer = RunWriter(run, {"lockstep": "staged"})
    trace = writer.path("fused")
    for row in open_run(recorded.run).path("fused"):
        values = {name: value for name, value in row.items() if value is not None}
        keys = {name: values.pop(name) for name in ("prompt_id", "turn", "step")}
        with trace.step(**keys) as step:
            step.record(**values)
    answer = specwb("replay", run, "--format", "json")
    writer.close()
    assert (answer.exit_code, replayed(answer)["verdict"]) == (4, "inconclusive")
    assert specwb("replay", run).exit_code == 0
