"""Full batches are copied from file to file as they are stored, and mean the same as unpacked ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.tracing.conftest import step_columns
from tracing import frames
from tracing.copying import slice_run
from tracing.errors import TraceError
from tracing.integrity import verify_run
from tracing.ipc_message import CorruptFrameError, messages
from tracing.merging import merge_runs
from tracing.moment import Moment
from tracing.reader import Run, open_run
from tracing.recorder import RunWriter
from tracing.restamping import restamped
from tracing.stored import StoredBatch, pieces
from tracing.stored_parts import stored_parts

GOLDEN = Path(__file__).with_name("golden")
NUM_STEPS = 200


def full_batches(run: Run) -> list[tuple[int, bytes]]:
    """Return the rows and the packed columns of each full batch of the one path."""
    stream = run.path("fused").stream
    found = []
    for number, frame in enumerate(stream.batches):
        data = stream.stored(number)
        parts = stored_parts(data, list(messages(memoryview(data)))[-1])
        assert parts is not None
        if frame.facts["num_rows"] == 64:
            found.append((frame.facts["num_rows"], parts.body))
    return found


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with rows that are no steps, incomplete rows, and batches that lack columns."""
    folder = tmp_path_factory.mktemp("stored") / "run"
    with RunWriter(folder, token_bytes=lambda token_id: b"%d" % token_id) as run:
        trace = run.path("fused", level="full")
        for number in range(NUM_STEPS):
            with trace.step(step=number) as step:
                columns = step_columns(number) if number % 64 < 40 else {"committed_len": number}
                kind = "recompute" if number % 50 == 7 else None
                step.record(**{**columns, "row_kind": kind})
                if number % 60 == 3:
                    step.mark_incomplete("made up")
    return folder


def test_a_slice_keeps_whole_batches_as_they_are_stored(mixed_run: Path, tmp_path: Path) -> None:
    assert slice_run(mixed_run, tmp_path / "part", Moment(0, 0, 64), Moment(0, 0, 194)) == 131
    whole, part = (open_run(each, every_row=True) for each in (mixed_run, tmp_path / "part"))
    assert verify_run(tmp_path / "part").is_whole
    assert full_batches(part) == full_batches(whole)[1:3]
    rows = whole.path("fused").columns(None, 64, 195)
    assert part.path("fused").columns().equals(rows)
    assert part.path("fused").entry["num_incomplete"] == 195 // 60 - 1
    steps = open_run(tmp_path / "part").path("fused")
    assert steps.num_steps == 131 - rows.column("row_kind").to_pylist().count("recompute")


def test_a_piece_that_begins_within_a_batch_is_packed_anew(mixed_run: Path, tmp_path: Path) -> None:
    slice_run(mixed_run, tmp_path / "part", Moment(0, 0, 1), Moment(0, 0, 199))
    whole, part = (open_run(each, every_row=True).path("fused") for each in (mixed_run, tmp_path / "part"))
    assert part.columns().equals(whole.columns(None, 1))
    assert all(batch.num_rows <= 64 for batch in part.batches())


def test_a_merge_keeps_them_too(mixed_run: Path, tmp_path: Path) -> None:
    with RunWriter(tmp_path / "other", token_bytes=lambda token_id: b"%d" % token_id) as run:
        trace = run.path("fused", level="full")
        for number in range(10):
            with trace.step(prompt_id=1, step=number) as step:
                step.record(committed_len=number)
    merge_runs([tmp_path / "other", mixed_run], tmp_path / "all")
    merged = open_run(tmp_path / "all", every_row=True)
    assert verify_run(tmp_path / "all").is_whole
    assert full_batches(merged)[:3] == full_batches(open_run(mixed_run))
    assert merged.path("fused").num_steps == NUM_STEPS + 10


def test_what_this_version_would_read_otherwise_is_unpacked(mixed_run: Path) -> None:
    current = open_run(mixed_run, every_row=True).path("fused")
    assert sum(isinstance(each, StoredBatch) for each in pieces(current)) == 3
    steps = open_run(mixed_run).path("fused")  # rows are left out of its batches
    assert not any(isinstance(each, StoredBatch) for each in pieces(steps))
    assert sum(each.num_rows for each in pieces(steps)) == steps.num_steps
    old = open_run(GOLDEN / "1.0" / "closed", every_row=True).path("fused")
    assert not any(isinstance(each, StoredBatch) for each in pieces(old))


def test_a_batch_that_changed_since_the_proof_is_never_copied(mixed_run: Path, tmp_path: Path) -> None:
    shutil.copytree(mixed_run, tmp_path / "run")
    run = open_run(tmp_path / "run", lazily=True, every_row=True)
    path = tmp_path / "run" / "fused.arrows"
    data = bytearray(path.read_bytes())
    data[run.path("fused").stream.batches[1].stop - 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(TraceError, match="not what was written"):
        list(pieces(run.path("fused")))


@pytest.mark.parametrize("codec", ["lz4", "zstd", None])
@pytest.mark.parametrize("facts", [{}, {"kind": "batch", "number": 7, "others": [1, 2], "text": "x" * 301}])
def test_arrow_reads_a_restamped_batch_as_before(codec: str | None, facts: dict[str, Any]) -> None:
    words = pa.array(["a", "b", None, "a"]).dictionary_encode()
    numbers = pa.array([[1, 2], None, [], list(range(900))], pa.list_(pa.int32()))
    batch = pa.record_batch({"words": words, "numbers": numbers, "nothing": pa.nulls(4, pa.float32())})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch, custom_metadata={"specwb": '{"crc32": "00000000"}'})
    head = batch.schema.serialize().size
    frame = sink.getvalue().to_pybytes()[head:-8]
    fresh = restamped(frame, facts)
    proven = frames.scan_frame(memoryview(fresh), 0)
    assert proven is not None
    assert {**facts, "crc32": frames.crc_of(fresh)} == proven.facts
    with pa.ipc.open_stream(batch.schema.serialize().to_pybytes() + fresh) as stream:
        found = stream.read_next_batch()
    found.validate(full=True)
    assert found.equals(batch)
    assert restamped(fresh, facts) == fresh
    with pytest.raises(CorruptFrameError):
        restamped(batch.schema.serialize().to_pybytes(), facts)


def test_one_wrong_byte_of_a_restamped_batch_is_found(mixed_run: Path) -> None:
    stream = open_run(mixed_run).path("fused").stream
    fresh = bytearray(restamped(stream.stored(0), {"kind": "batch"}))
    for at in np.linspace(0, len(fresh) - 1, 50).astype(int).tolist():
        fresh[at] ^= 4
        with pytest.raises(TraceError):
            frames.scan_frame(memoryview(bytes(fresh)), 0)
        fresh[at] ^= 4
