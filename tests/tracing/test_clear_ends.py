"""What goes wrong in the host or its arguments ends clearly, never in place of the host's own error."""

from __future__ import annotations

import json
import logging
import zlib
from pathlib import Path

import pytest

from tracing.errors import SpecwbError, TraceError
from tracing.files import LOCK_NAME
from tracing.findings_log import decode_finding
from tracing.ipc_message import CorruptFrameError
from tracing.manifest import read_manifest, write_manifest
from tracing.reader import open_run
from tracing.recorder import NullRecorder, OnError, open_trace


class MuteError(Exception):
    """An exception of the host that fails in its own text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class MuteValue:
    """A value whose conversion fails with such an exception."""

    def __array__(self, *_: object, **__: object) -> object:
        raise MuteError

    def __len__(self) -> int:
        raise MuteError


def record_and_raise(folder: Path, on_error: OnError, problem: BaseException) -> None:
    with open_trace(folder, on_error=on_error) as trace, trace.step(step=0) as step:
        step.record(parents=[0, 0])
        raise problem


@pytest.mark.parametrize("on_error", ["warn", "raise"])
@pytest.mark.parametrize("problem", [MuteError(), ValueError("\udc80"), KeyboardInterrupt()])
def test_the_exception_of_the_host_comes_through_whatever_its_text(
    tmp_path: Path, on_error: OnError, problem: BaseException
) -> None:
    with pytest.raises(type(problem)) as caught:
        record_and_raise(tmp_path / "run", on_error, problem)
    assert caught.value is problem
    (row,) = open_run(tmp_path / "run").path("fused")
    assert row["incomplete"].startswith(type(problem).__name__)
    assert row["parents"].tolist() == [0, 0]


def test_a_value_that_fails_without_a_text_stays_out_of_the_host(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        open_trace(tmp_path / "run", on_error="warn") as trace,
        trace.step(step=0) as step,
    ):
        step.record(parents=MuteValue(), token_ids=[3])
        step.about_to_run("verify", parents=MuteValue())
    (row,) = open_run(tmp_path / "run").path("fused")
    assert (row["parents"], row["token_ids"].tolist()) == (None, [3])
    assert "parents: " in row["incomplete"]
    assert caplog.records


BAD = {
    "level": {"level": "everything"},
    "path": {"path": "../elsewhere"},
    "lacks": {"lacks": ["no_such_column"]},
    "lacks of another type": {"lacks": 3},
    "manifest": {"manifest": {"a": object()}},
}


@pytest.mark.parametrize("name", list(BAD))
@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_bad_arguments_give_the_lock_back_and_the_next_recording_begins(
    tmp_path: Path, name: str, on_error: OnError
) -> None:
    folder = tmp_path / "run"
    try:
        with open_trace(folder, on_error=on_error, **BAD[name]) as trace:  # type: ignore[arg-type]  # they are bad
            assert isinstance(trace, NullRecorder)
            assert on_error == "warn"
    except (SpecwbError, TypeError):
        assert on_error == "raise"
    assert not (folder / LOCK_NAME).exists()
    with open_trace(folder) as trace, trace.step(step=0) as step:
        step.record(parents=[0])
    assert open_run(folder).status == "complete"


def test_a_way_of_failing_that_does_not_exist_is_refused_and_takes_nothing(tmp_path: Path) -> None:
    with pytest.raises((SpecwbError, TraceError)), open_trace(tmp_path / "run", on_error="wran"):  # type: ignore[arg-type]  # misspelt
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["verdict", "stage", "column", "message", "severity", "node", "gap", "path"])
def test_a_finding_with_a_value_of_another_type_is_corrupt(key: str) -> None:
    whole = {"verdict": "numeric", "guilty": "fused", "column": "logits", "stage": "verify"}
    data = {**whole, "prompt_id": 0, "turn": 0, "step": 0, key: [1]}
    body = json.dumps(data, separators=(",", ":")).removesuffix("}").encode()
    with pytest.raises(CorruptFrameError, match="wrong type"):
        decode_finding(body + f',"crc32":"{zlib.crc32(body):08x}"}}'.encode())


@pytest.mark.parametrize("lacks", [3, None, "slots", [3], {"slots": 1}])
def test_a_manifest_whose_lacks_is_no_list_of_names_is_corrupt(small_run: Path, lacks: object) -> None:
    manifest = read_manifest(small_run)
    manifest["paths"]["fused"]["lacks"] = lacks
    write_manifest(small_run, manifest)
    with pytest.raises(CorruptFrameError, match="lacks"):
        read_manifest(small_run)
