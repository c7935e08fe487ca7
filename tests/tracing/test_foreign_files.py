"""What does not belong to a run, or to its present state, is named, never read and never repaired in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.tracing.conftest import record_step
from tracing import journal_frames
from tracing.copying import repair_run
from tracing.finding import Finding
from tracing.integrity import RunHealth, verify_run
from tracing.moment import Moment
from tracing.origins import origins_of
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.stream_file import StreamFile
from workbench.judge.recorded.check import check_run

PATHS = ("fused", "reference")


def record(folder: Path, *, first: int = 0, closed: bool = True) -> Path:
    """A run of two paths: two batches, a step in the journal, two findings, a vocabulary.

    States of a run that is not closed are kept beside it, as `FOLDER-NUMBER`, one a step.
    """
    live = folder if closed else folder.with_name(folder.name + "-live")
    with RunWriter(live, token_bytes=lambda token_id: b"%d" % token_id) as run:
        traces = [run.path(name) for name in PATHS]
        for step in range(first, first + 5):
            for trace in traces:
                record_step(trace, step)
                if step % 2:
                    trace.seal()
            run.add_finding(Finding("numeric", "fused", Moment(0, 0, step, "verify"), "logits"))
            if not closed:
                shutil.copytree(live, folder.with_name(f"{folder.name}-{step}"), ignore=lambda *_: {"lock"})
    return folder if closed else folder.with_name(f"{folder.name}-{first + 4}")


def state_of(health: RunHealth, name: str) -> tuple[str, str]:
    return next((file.state, file.message) for file in health.files if file.name == name)


def steps_of(folder: Path) -> dict[str, list[int]]:
    run = open_run(folder)
    return {name: run.path(name).keys()[:, 2].tolist() for name in run.path_names}


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("name", ["fused.arrows", "reference.journal", "vocabulary.arrows", "findings.jsonl"])
def test_a_file_of_another_run_is_named_and_never_read(tmp_path: Path, name: str, closed: bool) -> None:
    """A foreign journal beside a closed run once came out `complete`, with steps of another run."""
    run = record(tmp_path / "run", closed=closed)
    shutil.copyfile(record(tmp_path / "other", first=100, closed=False) / name, run / name)
    state, message = state_of(verify_run(run), name)
    assert (state, "another run" in message) == ("corrupt", True)
    opened = open_run(run)
    assert all(step < 100 for steps in steps_of(run).values() for step in steps)
    assert all(finding.moment.step < 100 for finding in opened.findings)
    assert check_run(run).exit_code == 2
    if name == "vocabulary.arrows":
        assert len(opened.vocabulary) < 80  # ids of the unsealed step alone, out of the journal
    repair_run(run, tmp_path / "new")
    assert all(step < 100 for steps in steps_of(tmp_path / "new").values() for step in steps)
    (origin,) = origins_of(open_run(tmp_path / "new").manifest)
    assert any(name in line for line in origin.damage)


@pytest.mark.parametrize("closed", [True, False])
def test_files_of_two_paths_that_changed_places_are_named(tmp_path: Path, closed: bool) -> None:
    run = record(tmp_path / "run", closed=closed)
    for ending in ("arrows",) if closed else ("arrows", "journal"):
        (run / f"fused.{ending}").rename(run / "kept")
        (run / f"reference.{ending}").rename(run / f"fused.{ending}")
        (run / "kept").rename(run / f"reference.{ending}")
    health = verify_run(run)
    assert state_of(health, "fused.arrows") == ("corrupt", "is a file of path 'reference', not of fused")
    assert steps_of(run) == {"fused": [], "reference": []}


@pytest.mark.parametrize("closed", [True, False])
def test_a_stream_at_the_place_of_the_vocabulary_is_named(tmp_path: Path, closed: bool) -> None:
    run = record(tmp_path / "run", closed=closed)
    shutil.copyfile(run / "fused.arrows", run / "vocabulary.arrows")
    assert state_of(verify_run(run), "vocabulary.arrows")[0] == "corrupt"
    assert open_run(run).vocabulary.keys() <= set(range(512))
    assert check_run(run).exit_code == 2


@pytest.mark.parametrize("closed", [True, False])
def test_a_manifest_of_another_run_is_the_file_that_does_not_belong(tmp_path: Path, closed: bool) -> None:
    run = record(tmp_path / "run", closed=closed)
    shutil.copyfile(record(tmp_path / "other", first=100) / "manifest.json", run / "manifest.json")
    state, message = state_of(verify_run(run), "manifest.json")
    assert (state, message) == (
        "corrupt",
        "manifest.json: belongs to another run than all files beside it",
    )
    assert steps_of(run) == {"fused": [0, 1, 2, 3, 4], "reference": [0, 1, 2, 3, 4]}


def test_files_of_two_runs_without_a_manifest_are_not_mixed(tmp_path: Path) -> None:
    run = record(tmp_path / "run", closed=False)
    shutil.copyfile(record(tmp_path / "other", first=100) / "reference.arrows", run / "reference.arrows")
    (run / "manifest.json").write_bytes(b"{}\n")
    assert steps_of(run) == {"fused": [0, 1, 2, 3, 4], "reference": [4]}
    assert "another run" in state_of(verify_run(run), "reference.arrows")[1]


@pytest.mark.parametrize(
    ("now", "before", "name", "sentence"),
    [
        (4, 1, "fused.journal", "older than its stream"),
        (4, 0, "fused.journal", "older than its stream"),
        (4, 1, "fused.arrows", "2 sealed steps are missing"),
        (1, 4, "fused.arrows", "older than its stream"),
    ],
)
def test_one_file_out_of_a_backup_of_the_same_run(
    tmp_path: Path, now: int, before: int, name: str, sentence: str
) -> None:
    """A crash leaves stream and journal at most one seal apart; a file out of a backup is further away."""
    record(tmp_path / "run", closed=False)
    run = tmp_path / f"run-{now}"
    assert check_run(run).state == "truncated"
    shutil.copyfile(tmp_path / f"run-{before}" / name, run / name)
    checked = check_run(run)
    assert checked.exit_code == 2
    assert any(sentence in problem for problem in checked.problems), checked.problems
    steps = steps_of(run)["fused"]
    assert steps == sorted(set(steps))


def test_a_journal_beside_a_closed_run_is_not_read_beyond_its_end(tmp_path: Path) -> None:
    """Also a later journal of the same run: what was closed holds no more steps."""
    record(tmp_path / "run", closed=False)
    closed = tmp_path / "run-live"
    shutil.copyfile(tmp_path / "run-4" / "fused.journal", closed / "fused.journal")
    assert verify_run(closed).state == "complete"  # all its rows are sealed
    shutil.copyfile(tmp_path / "run-0" / "fused.journal", closed / "fused.journal")
    assert state_of(verify_run(closed), "fused.journal")[0] == "corrupt"


def records_of(data: bytes) -> list[bytes]:
    stops = [0, *(stop for _, stop in journal_frames.scan(memoryview(data)))]
    return [data[start:stop] for start, stop in pairwise(stops)]


Change = Callable[[list[bytes]], list[bytes]]
CHANGES: list[Change] = [
    lambda parts: [*parts[:1], *parts[2:]],
    lambda parts: [*parts[:2], *parts[1:]],
    lambda parts: [*parts[:-2], parts[-1], parts[-2]],
    lambda parts: [parts[0], *parts],
    lambda parts: parts[1:],
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_left_out_doubled_or_moved_is_noticed(tmp_path: Path, change: Change) -> None:
    record(tmp_path / "run", closed=False)
    run = tmp_path / "run-2"
    journal = run / "fused.journal"
    journal.write_bytes(b"".join(change(records_of(journal.read_bytes()))))
    assert state_of(verify_run(run), "fused.journal")[0] == "corrupt"


def test_records_of_another_journal_are_noticed(tmp_path: Path) -> None:
    record(tmp_path / "run", closed=False)
    own, other = (records_of((tmp_path / "run-2" / f"{name}.journal").read_bytes()) for name in PATHS)
    (tmp_path / "run-2" / "fused.journal").write_bytes(b"".join([own[0], *other[1:]]))
    assert state_of(verify_run(tmp_path / "run-2"), "fused.journal")[0] == "corrupt"


@pytest.mark.parametrize("change", CHANGES)
def test_a_line_left_out_doubled_or_moved_is_noticed(tmp_path: Path, change: Change) -> None:
    run = record(tmp_path / "run", closed=False)
    file = run / "findings.jsonl"
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))
    assert state_of(verify_run(run), "findings.jsonl")[0] == "corrupt"


@pytest.mark.parametrize("name", ["findings.jsonl", "vocabulary.arrows", "fused.arrows", "fused.journal"])
def test_a_file_that_is_gone_is_missed_in_a_killed_run_too(tmp_path: Path, name: str) -> None:
    run = record(tmp_path / "run", closed=False)
    (run / name).unlink()
    assert state_of(verify_run(run), name)[0] == "corrupt"


def test_files_that_no_manifest_lists_are_named(tmp_path: Path) -> None:
    run, other = record(tmp_path / "run"), record(tmp_path / "other", first=100)
    shutil.copyfile(run / "fused.arrows", run / "copy.arrows")
    shutil.copyfile(other / "reference.arrows", run / "third.arrows")
    (run / "notes.arrows").write_text("of the user, no trace at all")
    (run / "bulk").mkdir()
    (run / "bulk" / "0-0-1-verify-logits.npy").write_bytes(b"of another run")
    health = verify_run(run)
    assert health.state == "corrupt"
    assert "this run and path 'fused'" in state_of(health, "copy.arrows")[1]
    assert "another run and path 'reference'" in state_of(health, "third.arrows")[1]
    assert state_of(health, "bulk/0-0-1-verify-logits.npy")[0] == "corrupt"
    assert "notes.arrows" not in {file.name for file in health.files}
    assert check_run(run).exit_code == 2


def test_a_path_that_has_just_begun_is_no_stranger(tmp_path: Path) -> None:
    """A writer creates the files of a path before it lists them; `kill -9` may fall between."""
    with RunWriter(tmp_path / "live") as run:
        record_step(run.path("fused"), 0)
        shutil.copytree(tmp_path / "live", tmp_path / "run", ignore=lambda *_: {"lock"})
        run.path("reference")
        for name in ("reference.arrows", "reference.journal"):
            shutil.copyfile(tmp_path / "live" / name, tmp_path / "run" / name)
    assert verify_run(tmp_path / "run").state == "truncated"
    assert not open_run(tmp_path / "run").strangers


def test_an_earlier_vocabulary_lacks_tokens_that_occur(tmp_path: Path) -> None:
    record(tmp_path / "run", closed=False)
    run = tmp_path / "run-4"
    assert state_of(verify_run(run), "vocabulary.arrows")[1] == "has no end record"
    shutil.copyfile(tmp_path / "run-1" / "vocabulary.arrows", run / "vocabulary.arrows")
    assert "token ids that occur are missing" in state_of(verify_run(run), "vocabulary.arrows")[1]


def test_a_copy_whose_writer_is_killed_is_only_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a copy go to its stream alone; its journal is no older for that."""
    source = record(tmp_path / "run")
    states: list[str] = []
    append = StreamFile.append

    def observed(self: StreamFile, *args: Any, **more: bool) -> None:
        append(self, *args, **more)
        shutil.copytree(tmp_path / "new", tmp_path / f"killed-{len(states)}", ignore=lambda *_: {"lock"})
        states.append(verify_run(tmp_path / f"killed-{len(states)}").state)

    monkeypatch.setattr("tracing.copying.MAX_BATCH_STEPS", 2)
    monkeypatch.setattr(StreamFile, "append", observed)
    repair_run(source, tmp_path / "new")
    assert states == ["truncated"] * len(states)
    assert len(states) > 5
