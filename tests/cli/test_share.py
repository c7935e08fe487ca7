"""An `ok` of `specwb check` rests on what was declared: what was lost, cut or never looked at makes none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invariants.examples import StepRow
from tests.cli.conftest import Specwb
from tests.cli.recorded import LIMITS, SETTINGS, legal_rows, record, write_run
from tracing.recorder import RunWriter, open_trace
from tracing.recording_plan import RecordingPlan

FACTS = {"settings": SETTINGS, "limits": LIMITS}
FORMATS = ("text", "json", "junit", "sarif", "github")


def stopped(
    folder: Path, rows: Iterable[StepRow], why: BaseException, facts: dict[str, Any] | None = None
) -> None:
    """Record steps, then leave as a host does in which something is raised."""

    def host() -> None:
        with RunWriter(folder, FACTS | (facts or {})) as writer:
            record(writer.path("fused"), rows)
            raise why

    with pytest.raises(type(why)):
        host()


def checked(specwb: Specwb, run: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and the run's part of the answer; all formats agree about the code."""
    codes = {specwb("check", run, "--format", name).exit_code for name in FORMATS}
    answer = specwb("check", run, "--format", "json")
    assert codes == {answer.exit_code}
    return answer.exit_code, json.loads(answer.out)["runs"][0]


def test_a_repaired_run_remembers_what_was_lost(specwb: Specwb, tmp_path: Path) -> None:
    from tracing.reader import open_run

    run = write_run(tmp_path / "run", 100)
    stream = run / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[: open_run(run).path("fused").stream.batches[1].stop - 50])
    assert specwb("trace", "repair", run, tmp_path / "repaired").exit_code == 0
    code, answer = checked(specwb, tmp_path / "repaired")
    assert (code, answer["verdict"]) == (4, "inconclusive")
    assert answer["share"]["steps"] == {"num": 64, "of": 100}
    assert "only 64 of 100 steps were judged" in specwb("check", tmp_path / "repaired").out


def test_a_hole_of_a_repaired_run_is_no_fault_of_the_engine(specwb: Specwb, tmp_path: Path) -> None:
    from tracing.reader import open_run

    run = write_run(tmp_path / "run", 1000, num_nodes=4)
    data = bytearray((run / "fused.arrows").read_bytes())
    data[open_run(run).path("fused").stream.batches[3].stop - 30] ^= 1
    (run / "fused.arrows").write_bytes(data)
    assert specwb("trace", "repair", run, tmp_path / "repaired").exit_code == 0
    code, answer = checked(specwb, tmp_path / "repaired")
    assert answer["findings"] == []
    assert code == 0
    assert answer["share"]["steps"] == {"num": 936, "of": 1000}
    last = ["--first", "0:0:0", "--last", "900000:0:0"]
    assert specwb("trace", "slice", tmp_path / "repaired", tmp_path / "part", *last).exit_code == 0
    assert checked(specwb, tmp_path / "part")[1]["share"]["steps"] == {"num": 936, "of": 1000}


def test_a_killed_run_stays_unclosed_when_it_is_repaired_or_cut(specwb: Specwb, tmp_path: Path) -> None:
    with RunWriter(tmp_path / "live", FACTS) as writer:
        record(writer.path("fused"), legal_rows(70))
        shutil.copytree(tmp_path / "live", tmp_path / "killed", ignore=shutil.ignore_patterns("lock"))
    assert checked(specwb, tmp_path / "killed")[0] == 4
    specwb("trace", "repair", tmp_path / "killed", tmp_path / "repaired")
    specwb("trace", "slice", tmp_path / "killed", tmp_path / "part", "--first", "0:0:0", "--last", "99:0:0")
    specwb("trace", "merge", tmp_path / "killed", "--out", tmp_path / "merged")
    for name in ("repaired", "part", "merged"):
        code, answer = checked(specwb, tmp_path / name)
        assert (code, answer["share"]["unknown"]) == (4, ["the run was never closed whole"]), name


def test_a_slice_is_a_share_of_its_run(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 20)
    last = sorted((row["prompt_id"], row["step"]) for row in legal_rows(20))[-2]
    specwb("trace", "slice", run, tmp_path / "one", "--first", "0:0:0")
    specwb("trace", "slice", run, tmp_path / "most", "--first", "0:0:0", "--last", f"{last[0]}:0:{last[1]}")
    assert checked(specwb, tmp_path / "one")[0] == 4
    code, answer = checked(specwb, tmp_path / "most")
    assert (code, answer["share"]["steps"]) == (0, {"num": 19, "of": 20})


@pytest.mark.parametrize("num_before", [0, 1, 40])
def test_a_server_that_a_signal_stops_is_judged_up_to_its_last_whole_step(
    specwb: Specwb, tmp_path: Path, num_before: int
) -> None:
    *before, cut = legal_rows(num_before + 1)

    def server() -> None:
        with open_trace(tmp_path / "run", level="full", manifest=FACTS) as trace:
            record(trace, before)
            with trace.step(**{name: cut[name] for name in ("prompt_id", "turn", "step")}) as step:
                step.record(parents=cut["parents"], token_ids=cut["token_ids"])
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server()
    code, answer = checked(specwb, tmp_path / "run")
    assert answer["status"] == "interrupted"
    assert (code, answer["share"]["steps"]) == (0 if num_before else 4, {"num": num_before, "of": num_before})


def test_a_run_with_a_planned_end_that_was_interrupted_is_inconclusive(
    specwb: Specwb, tmp_path: Path
) -> None:
    for name, facts in {
        "lockstep": {"lockstep": "staged"},
        "planned": RecordingPlan(open_end=False).as_manifest(),
    }.items():
        stopped(tmp_path / name, legal_rows(20), KeyboardInterrupt(), facts)
        code, answer = checked(specwb, tmp_path / name)
        assert (code, answer["share"]["unknown"]) == (4, ["the recorded run was interrupted"])


def test_a_killed_server_with_an_open_end_is_judged(specwb: Specwb, tmp_path: Path) -> None:
    plan = RecordingPlan(open_end=True)
    with open_trace(tmp_path / "live", level="full", manifest=FACTS, plan=plan) as trace:
        record(trace, legal_rows(70))
        shutil.copytree(tmp_path / "live", tmp_path / "killed", ignore=shutil.ignore_patterns("lock"))
    assert checked(specwb, tmp_path / "killed")[0] == 0


def test_an_engine_that_raised_leaves_no_ok(specwb: Specwb, tmp_path: Path) -> None:
    stopped(tmp_path / "run", legal_rows(40), RuntimeError("aicore timeout"))
    code, answer = checked(specwb, tmp_path / "run")
    assert (code, answer["share"]["unknown"]) == (4, ["the recorded run failed"])


def test_arrays_dropped_in_warn_mode_are_no_whole_steps(specwb: Specwb, tmp_path: Path) -> None:
    def bent(row: StepRow) -> StepRow:
        return row | {"position_ids": np.append(row["position_ids"], 0)}

    with open_trace(tmp_path / "all", level="full", manifest=FACTS, on_error="warn") as trace:
        record(trace, map(bent, legal_rows(20)))
    with open_trace(tmp_path / "one", level="full", manifest=FACTS, on_error="warn") as trace:
        record(trace, (bent(row) if number == 7 else row for number, row in enumerate(legal_rows(20))))
    assert checked(specwb, tmp_path / "all")[1]["share"]["steps"] == {"num": 0, "of": 20}
    assert checked(specwb, tmp_path / "all")[0] == 4
    code, answer = checked(specwb, tmp_path / "one")
    assert (code, answer["share"]["steps"]) == (0, {"num": 19, "of": 20})


def test_a_column_that_is_no_longer_recorded_leaves_steps_unwhole(specwb: Specwb, tmp_path: Path) -> None:
    def lost(row: StepRow) -> StepRow:
        return row | {"visible": None} if row["step"] > 9 else row

    code, answer = checked(specwb, write_run(tmp_path / "run", 40, change=lost))
    assert code == 4
    assert answer["share"]["steps"]["num"] < 20


def test_few_columns_are_a_whole_of_their_own(specwb: Specwb, tmp_path: Path) -> None:
    """What an engine never records it has not declared; what it promises and never records is lost."""
    few = ("token_ids", "parents", "depths", "valid", "position_ids", "committed_len")
    others = {name for row in legal_rows(1) for name in row} - {*few, "prompt_id", "turn", "step"}

    def only_few(row: StepRow) -> StepRow:
        return row | dict.fromkeys(others)

    code, answer = checked(specwb, write_run(tmp_path / "few", 10, change=only_few, level="basic"))
    assert (code, answer["share"]["steps"]) == (0, {"num": 10, "of": 10})
    promised = RecordingPlan(columns=(*few, "visible", "target_token_ids")).as_manifest()
    code, answer = checked(
        specwb, write_run(tmp_path / "lost", 10, change=only_few, manifest=FACTS | promised, level="basic")
    )
    assert (code, answer["share"]["steps"]) == (4, {"num": 0, "of": 10})


def test_every_third_step_is_a_whole_where_it_is_declared(specwb: Specwb, tmp_path: Path) -> None:
    facts = FACTS | RecordingPlan(every=3).as_manifest()
    rows = [row for row in legal_rows(300, num_nodes=6) if row["step"] % 3 == 0]
    for name, part in {"all": rows, "gap": [row for row in rows if row["step"] not in {3, 6}]}.items():
        with RunWriter(tmp_path / name, facts) as writer:
            record(writer.path("fused"), part)
    code, answer = checked(specwb, tmp_path / "all")
    assert (code, answer["findings"]) == (0, [])
    code, answer = checked(specwb, tmp_path / "gap")
    assert (code, answer["findings"]) == (4, [])
    assert answer["share"]["steps"]["of"] > answer["share"]["steps"]["num"]


def test_a_merged_run_names_the_parts_that_are_missing(specwb: Specwb, tmp_path: Path) -> None:
    rows = list(legal_rows(60))
    for part in range(3):
        plan = RecordingPlan(part=(part,), parts=3)
        with open_trace(tmp_path / str(part), level="full", manifest=FACTS, plan=plan) as trace:
            record(trace, (row for row in rows if row["prompt_id"] % 3 == part))
    assert checked(specwb, tmp_path / "0")[0] == 0
    specwb("trace", "merge", tmp_path / "0", tmp_path / "2", "--out", tmp_path / "two")
    code, answer = checked(specwb, tmp_path / "two")
    assert (code, answer["share"]["unknown"]) == (4, ["of 3 parts of the run 1 are missing"])
    specwb("trace", "merge", tmp_path / "two", tmp_path / "1", "--out", tmp_path / "all")
    assert checked(specwb, tmp_path / "all")[0] == 0
    twice = specwb("trace", "merge", tmp_path / "all", tmp_path / "1", "--out", tmp_path / "more")
    assert (twice.exit_code, "both hold part 1" in twice.err) == (2, True)


def test_a_merged_run_ends_as_the_worst_of_its_parts(specwb: Specwb, tmp_path: Path) -> None:
    rows = list(legal_rows(40))
    with RunWriter(tmp_path / "whole", FACTS) as writer:
        record(writer.path("fused"), (row for row in rows if row["prompt_id"] == 0))
    stopped(tmp_path / "raised", (row for row in rows if row["prompt_id"] == 1), RuntimeError())
    specwb("trace", "merge", tmp_path / "whole", tmp_path / "raised", "--out", tmp_path / "all")
    assert checked(specwb, tmp_path / "all")[1]["share"]["unknown"] == ["the recorded run failed"]


def test_a_reference_alone_says_nothing_of_the_path_under_test(specwb: Specwb, tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run", FACTS) as writer:
        record(writer.path("reference"), legal_rows(20))
    code, answer = checked(specwb, tmp_path / "run")
    assert code == 4
    assert answer["share"]["unknown"] == ["only the reference is recorded, not the path under test"]


@pytest.mark.parametrize("halved", ["fused", "reference"])
def test_half_of_a_path_is_missed(specwb: Specwb, tmp_path: Path, halved: str) -> None:
    rows = list(legal_rows(20))
    with RunWriter(tmp_path / "run", FACTS | {"lockstep": "staged"}) as writer:
        for name in ("fused", "reference"):
            record(writer.path(name), rows[:10] if name == halved else rows)
    code, answer = checked(specwb, tmp_path / "run")
    assert code in {1, 4}
    assert "only 10 of 20 steps are recorded on both paths" in answer["remark"]
