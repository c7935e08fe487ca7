"""A run that is opened on its heads comes to the same as one that is proven at once, and never shows more."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.tracing.conftest import record_step
from tests.tracing.test_bit_flips import write_run
from tracing.errors import TraceError
from tracing.path_reader import PathReader
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.stream_reader import DisprovedError

NUM_BATCHES = 5
READ_AGAIN = 3
"""Times that a caller asks again when a row turns out not to be what was written."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A closed run of five batches of one step each."""
    with RunWriter(tmp_path / "run") as writer:
        trace = writer.path("fused")
        for step in range(NUM_BATCHES):
            record_step(trace, step)
            trace.seal()
    return tmp_path / "run"


def changed_in(folder: Path, batch: int) -> None:
    """Flip a bit near the end of a batch's body."""
    path = folder / "fused.arrows"
    frame = open_run(folder).path("fused").stream.batches[batch]
    data = bytearray(path.read_bytes())
    data[frame.stop - 20] ^= 4
    path.write_bytes(data)


def fused(folder: Path) -> PathReader:
    return open_run(folder, lazily=True).path("fused")


def steps(path: PathReader) -> list[int]:
    numbers: list[int] = path.columns(["step"]).column(0).to_pylist()
    return numbers


def test_a_whole_run_is_proven_as_it_is_read(run: Path) -> None:
    path = fused(run)
    assert (path.num_steps, path.num_unproven, path.problems) == (NUM_BATCHES, NUM_BATCHES, [])
    path.step(2)
    assert path.num_unproven == NUM_BATCHES - 1
    assert [path.prove_some(3), path.prove_some(3)] == [1, 0]
    assert open_run(run).path("fused").num_unproven == 0
    assert path.columns() == open_run(run).path("fused").columns()


def test_a_changed_batch_is_noticed_when_it_is_read_and_not_shown(run: Path) -> None:
    """Catches a batch that is shown on the word of its head."""
    changed_in(run, 2)
    path = fused(run)
    assert (path.num_steps, path.problems) == (NUM_BATCHES, [])
    path.step(1)
    with pytest.raises(DisprovedError, match=r"batch 2 of fused\.arrows .*4 steps"):
        path.step(2)
    assert (steps(path), path.num_unproven) == ([0, 1, 3, 4], 0)
    assert "batch 2" in path.problems[0]
    assert path.problems == open_run(run).path("fused").problems


def test_a_changed_batch_is_noticed_by_who_proves_the_rest(run: Path) -> None:
    changed_in(run, 3)
    path = fused(run)
    assert path.prove_some(3) == NUM_BATCHES - 3
    with pytest.raises(DisprovedError):
        path.prove_some(3)
    assert steps(path) == [0, 1, 2, 4]


@pytest.mark.parametrize("num_read", [1, 4, 5])
def test_a_reader_under_way_ends_when_another_finds_damage(run: Path, num_read: int) -> None:
    """Catches rows that are left out, or read for ever, because their numbers changed on the way."""
    changed_in(run, 0)
    path = fused(run)
    rows = path.batches(["step"], 1)
    for _ in range(num_read - 1):
        next(rows)
    with pytest.raises(DisprovedError):
        path.step(0)
    if num_read == 1:  # not begun
        assert [batch.column(0).to_pylist() for batch in rows] == [[2], [3], [4]]
    else:
        with pytest.raises(DisprovedError, match="numbered anew"):
            next(rows)
    assert steps(path) == [1, 2, 3, 4]


def test_more_of_a_growing_run_is_not_proven_either(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        trace = writer.path("fused")
        record_step(trace, 0)
        trace.seal()
        path = fused(tmp_path / "run")
        assert path.prove_some(1) == 0
        record_step(trace, 1)
        trace.seal()
        record_step(trace, 2)
        assert (path.refresh(), path.num_unproven) == (3, 1)
        assert (steps(path), path.num_unproven) == ([0, 1, 2], 0)


@pytest.mark.parametrize("cut", [1, 200])
def test_a_torn_end_is_what_it_is(run: Path, cut: int) -> None:
    file = run / "fused.arrows"
    file.write_bytes(file.read_bytes()[:-cut])
    careful, quick = open_run(run).path("fused"), fused(run)
    assert (quick.num_steps, quick.problems) == (careful.num_steps, careful.problems)
    assert quick.problems


def read_all(folder: Path, *, lazily: bool) -> tuple[Any, ...]:
    """Return what can be read in the end, and what is said to be wrong."""
    try:
        opened = open_run(folder, lazily=lazily)
        path = opened.path("fused")
    except TraceError as problem:
        return (str(problem),)
    for _ in range(READ_AGAIN):
        try:
            return path.columns().to_pylist(), path.problems, opened.problems, opened.findings
        except DisprovedError:
            continue
    raise AssertionError("each reading found other damage")


@pytest.mark.parametrize("closed", [True, False])
def test_any_flipped_bit_comes_to_the_same_as_when_all_is_proven_at_once(
    tmp_path: Path, closed: bool
) -> None:
    """Catches a head that is believed (a count, a length, the chain, a checksum) and a body that is."""
    folder = write_run(tmp_path, closed=closed)
    for path, position in flips(folder):
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        where = f"bit {position % 8} of byte {position} of {path.name}"
        assert read_all(folder, lazily=True) == read_all(folder, lazily=False), where
        path.write_bytes(whole)


def flips(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in sorted(folder.glob("fused.*")):
        yield from ((path, position) for position in range(0, path.stat().st_size, 149))


def test_another_run_s_file_is_not_taken_for_this_one_s(run: Path, tmp_path: Path) -> None:
    """Catches a chain that holds in itself and belongs elsewhere."""
    with RunWriter(tmp_path / "other") as writer:
        record_step(writer.path("fused"), 0)
    shutil.copy(tmp_path / "other" / "fused.arrows", run / "fused.arrows")
    assert "another run" in fused(run).problems[0]


def test_a_batch_with_large_dictionaries_is_proven_at_once(tmp_path: Path) -> None:
    """Its head does not stand where heads are looked for."""
    with RunWriter(tmp_path / "run") as writer:
        record_step(writer.path("fused"), 0, kernel=np.random.default_rng(0).bytes(1 << 15).hex())
    path = fused(tmp_path / "run")
    assert (path.num_steps, path.num_unproven) == (1, 0)
    assert isinstance(path.columns(), pa.Table)


def test_a_file_that_is_replaced_meanwhile_is_noticed(run: Path) -> None:
    """Catches a proof of some batch that is not the one whose head was read: this one is sealed again."""
    path = fused(run)
    frame, file = path.stream.batches[1], run / "fused.arrows"
    data = bytearray(file.read_bytes())
    batch = data[frame.start : frame.stop].replace(b'"first_row": 1', b'"first_row": 7')
    crc = frame.facts["crc32"].encode()
    blank = batch.replace(crc, b"00000000")
    data[frame.start : frame.stop] = batch.replace(crc, f"{zlib.crc32(blank):08x}".encode())
    file.write_bytes(data)
    with pytest.raises(DisprovedError):
        path.step(1)
