"""Files written by a stranger: clear errors only. No crash, no hang, no memory blow-up."""

from __future__ import annotations

import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracing.conftest import record_step
from tracing import frames, ipc_message, journal_frames
from tracing.columns import COLUMN_BY_NAME
from tracing.errors import TraceError
from tracing.integrity import STATES, verify_run
from tracing.journal import read_journal
from tracing.manifest import MANIFEST_NAME, read_manifest, write_manifest
from tracing.path_reader import PathReader
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.sealed import SealedBatch

FILES = ("manifest.json", "fused.arrows", "fused.journal", "findings.jsonl", "vocabulary.arrows")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
NAMES = list(COLUMN_BY_NAME)
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never closed: one sealed batch, one journaled step, one step in progress."""
    folder = tmp_path_factory.mktemp("hostile")
    with RunWriter(folder / "live", token_bytes=lambda token_id: b"%d" % token_id) as run:
        trace = run.path("fused")
        record_step(trace, 0)
        trace.seal()
        record_step(trace, 1)
        with trace.step(step=2) as step:
            step.about_to_run("verify", committed_len=24)
            shutil.copytree(folder / "live", folder / "run", ignore=shutil.ignore_patterns("lock"))
    return folder / "run"


def read_everything(folder: Path) -> str:
    """Verify and read a run whole; return its state, `refused` for a clear error."""
    try:
        health = verify_run(folder)
        run = open_run(folder)
        for name in run.path_names:
            path = run.path(name)
            assert sum(1 for _ in path) == path.num_steps
            assert path.columns().num_rows == path.num_steps
            assert len(path.in_progress) >= 0
            compare_stored(path)
        assert isinstance(run.vocabulary, dict)
    except TraceError:
        return "refused"
    assert health.state in STATES
    return health.state


def compare_stored(path: PathReader) -> None:
    """Compare a path with itself as it is stored, then as it is unpacked."""
    for one, other in zip(path.sealed_batches(NAMES), path.sealed_batches(NAMES), strict=True):
        for name in NAMES if isinstance(one, SealedBatch) else ():
            assert one.stored(name) == other.stored(name)
            assert one[name].equals(other[name]) or name == "target_top_logits"  # a forged NaN


def with_file(folder: Path, name: str, data: bytes, look: Callable[[Path], str]) -> str:
    """Look at the run with one file replaced, then put the file back."""
    whole = (folder / name).read_bytes()
    try:
        (folder / name).write_bytes(data)
        return look(folder)
    finally:
        (folder / name).write_bytes(whole)


@SHARED
@given(st.sampled_from(FILES), st.binary(max_size=300))
def test_random_bytes_are_never_taken_for_a_file(killed_run: Path, name: str, data: bytes) -> None:
    if not data and name == "findings.jsonl":
        return
    assert with_file(killed_run, name, data, read_everything) in {"torn", "corrupt", "refused"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_never_whole_and_what_is_before_the_cut_is_read(
    killed_run: Path, name: str
) -> None:
    whole = (killed_run / name).read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 60)):
        state = with_file(killed_run, name, whole[:size], read_everything)
        assert state in {"truncated", "torn", "corrupt", "refused"}, size
        if name == "fused.arrows" and size:
            assert state == "torn", "the sealed batch was cut, not changed"


def test_a_clean_cut_of_a_closed_run_is_truncated_and_a_cut_batch_torn(small_run: Path) -> None:
    path = small_run / "fused.arrows"
    whole = path.read_bytes()
    frame = open_run(small_run).path("fused").stream.batches[0]
    cuts = {frame.stop: ("truncated", 3), frame.stop - 1: ("torn", 0), frame.start: ("truncated", 0)}
    cuts[len(whole) - 3] = ("torn", 3)
    for size, (state, num_steps) in cuts.items():
        path.write_bytes(whole[:size])
        health = verify_run(small_run)
        assert (health.state, health.num_steps["fused"], health.num_steps["reference"]) == (
            state,
            num_steps,
            3,
        )
    path.write_bytes(whole + b"\0")
    assert verify_run(small_run).state == "corrupt"
    path.unlink()
    assert verify_run(small_run).state == "corrupt"


def restamped(data: bytearray) -> bytes:
    """Give every frame the checksum that fits its bytes, as a forger would."""
    position, start = 0, 0
    while (
        position < len(data) and (message := ipc_message.read_message(memoryview(data), position)) is not None
    ):
        position = message.stop
        if message.kind != ipc_message.DICTIONARY:
            at = bytes(data[message.head_at : message.body_at]).find(b'"crc32": "')
            if at >= 0:
                at += message.head_at + 10
                data[at : at + 8] = b"00000000"
                data[at : at + 8] = f"{zlib.crc32(data[start : message.stop]):08x}".encode()
            start = message.stop
    return bytes(data)


@pytest.mark.parametrize("name", ["fused.arrows", "vocabulary.arrows"])
def test_forged_frames_with_right_checksums_give_clear_errors_only(killed_run: Path, name: str) -> None:
    """Hostile lengths and offsets behind a matching CRC; Arrow itself must never see what could hurt it."""
    chance = random.Random(3)
    whole = (killed_run / name).read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 4))):
            at = chance.randrange(len(data) - 8)
            number = chance.choice((0, 1, -1, 2**31 - 1, 2**31, 2**40, 2**62, chance.randrange(1 << 20)))
            width = chance.choice((1, 4, 8))
            data[at : at + width] = (number & (2**64 - 1)).to_bytes(8, "little")[:width]
        try:
            forged = restamped(data)
        except TraceError:
            forged = bytes(data)
        with_file(killed_run, name, forged, read_everything)


def test_a_batch_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A few kilobytes of zstd can hold gigabytes of zeros."""
    schema = pa.schema([("token_ids", pa.list_(pa.int32()))])
    bomb = pa.record_batch([pa.array([np.zeros(1 << 20, np.int32)], pa.list_(pa.int32()))], schema)
    head = frames.encode_schema(schema, {})
    frame = frames.encode_batch(bomb, {}, "zstd")
    assert len(frame) < 1 << 16
    assert frames.bounded(frame, 1, frames.Dictionaries()).kind == ipc_message.BATCH
    assert frames.decode_batch(head, frame, [0]).num_rows == 1
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1 << 20)
    before = pa.default_memory_pool().bytes_allocated()
    with pytest.raises(TraceError, match="claims to unpack to"):
        frames.bounded(frame, 1, frames.Dictionaries())
    assert pa.default_memory_pool().bytes_allocated() <= before
    with pytest.raises(TraceError, match="record smaller steps"):
        frames.encode_batch(bomb, {}, "zstd")


@given(JSON, JSON, st.integers(0, 9), st.binary(max_size=40))
def test_forged_journal_records_give_clear_errors_only(
    columns: Any, facts: Any, kind: int, arrays: bytes
) -> None:
    described = {"uid": 0, "at": [0, 0, 1], "row": 0, "stage": "verify", "tokens": [], "inputs": {}}
    described |= facts if isinstance(facts, dict) else {"at": facts, "tokens": facts}
    names = dict(zip(("parents", "committed_len", "proposer", "index_sites"), [columns] * 4, strict=True))
    text = json.dumps({**described, "columns": names}).encode()
    content = read_journal(journal(kind, text, arrays))
    assert content.head is not None
    assert content.problem is None or isinstance(content.problem, TraceError)


HEAD = {"rows": 0, "batches": 0, "bytes": 0, "crc32": "", "run": ""}


def journal(kind: int, text: bytes, arrays: bytes) -> bytes:
    """A journal with one record: right checksums around any payload."""
    head = journal_frames.encode(journal_frames.HEAD, HEAD)
    forged = journal_frames.Record(kind, struct.pack("<I", len(text)) + text + arrays)
    return journal_frames.chain((head, forged))[0]


@pytest.mark.parametrize(
    "columns",
    [
        {"committed_len": 2**40},
        {"kv_digest_before": -1},
        {"index_sites": [["a", 2**70, 0, 0]]},
        {"parents": [-1, False, [1], 4]},
        {"parents": [2**40, False, [1], 4]},
        {"parents": [0, False]},
        {"prefix_kept": 1},
        {"column_of_a_newer_minor": [2**40, False, [1], 4]},
        {"column_of_a_newer_minor": [1, False, [1], -4]},
    ],
)
def test_forged_values_are_refused_where_they_are_read(columns: dict[str, Any]) -> None:
    text = json.dumps({"uid": 0, "at": [0, 0, 1], "row": 0, "columns": columns, "inputs": {}}).encode()
    content = read_journal(journal(journal_frames.END, text, b""))
    assert isinstance(content.problem, TraceError)
    assert not content.rows


@SHARED
@given(st.sampled_from(["format", "status", "paths", "bulk", "findings", "vocabulary", "run_id"]), JSON)
def test_forged_manifests_give_clear_errors_only(killed_run: Path, key: str, value: Any) -> None:
    def look(folder: Path) -> str:
        write_manifest(folder, {**manifest, key: value})
        return read_everything(folder)

    manifest = read_manifest(killed_run)
    with_file(killed_run, MANIFEST_NAME, b"", look)


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "", ".."])
def test_a_manifest_cannot_lead_outside_its_run(killed_run: Path, name: str) -> None:
    manifest = read_manifest(killed_run)

    def look(folder: Path) -> str:
        write_manifest(folder, {**manifest, "paths": {name: {}}})
        assert open_run(folder).path_names == ("fused",)
        assert verify_run(folder).state == "corrupt"
        write_manifest(
            folder, {**manifest, "bulk": [{"file": f"bulk/../{name}", "bytes": 0, "crc32": "0" * 8}]}
        )
        return verify_run(folder).state

    assert with_file(killed_run, MANIFEST_NAME, b"", look) == "corrupt"


def test_a_newer_major_version_is_refused_with_a_sentence(killed_run: Path) -> None:
    manifest = read_manifest(killed_run)

    def look(folder: Path) -> str:
        write_manifest(folder, {**manifest, "format": "2.0"})
        with pytest.raises(
            TraceError, match=r"has trace format 2\.0, this specwb reads up to 1\.x; upgrade specwb"
        ):
            open_run(folder)
        write_manifest(folder, {**manifest, "format": "1.9"})
        return verify_run(folder).state

    assert with_file(killed_run, MANIFEST_NAME, b"", look) == "truncated"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        for read in (open_run, verify_run):
            with pytest.raises(TraceError, match="is no recorded run"):
                read(folder)


def test_columns_of_a_newer_minor_version_are_stepped_over() -> None:
    columns = {
        "new_scalar": "x",
        "new_array": [2, True, [2], 8],
        "parents": [2, False, [2], 4],
        "new_sites": [],
    }
    text = json.dumps({"uid": 0, "at": [0, 0, 1], "row": 0, "columns": columns, "inputs": {}}).encode()
    arrays = bytes(2 * 8 + 2) + np.array([7, 8], "<i4").tobytes()
    content = read_journal(journal(journal_frames.END, text, arrays))
    assert content.problem is None
    assert content.rows[0]["parents"].values.tolist() == [7, 8]
