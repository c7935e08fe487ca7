"""Files of strangers: regular ones only, links never followed to write, batches of at most 64 rows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tracing import frames
from tracing.errors import EnvironmentProblemError, SpecwbError
from tracing.export import export_run
from tracing.files import AppendFile, read_regular
from tracing.integrity import verify_run
from tracing.reader import open_run
from tracing.schema import FORMAT_VERSION, arrow_schema
from workbench.cli.run import run_command

FILES = ("manifest.json", "fused.arrows", "fused.journal", "findings.jsonl", "vocabulary.arrows")


def place_pipe(path: Path) -> None:
    os.mkfifo(path)


def place_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def place_folder(path: Path) -> None:
    path.mkdir()


PLACES = (place_pipe, place_device, place_folder)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FILES)
def test_a_run_file_that_is_no_file_is_refused_at_once(small_run: Path, name: str, place: object) -> None:
    (small_run / name).unlink(missing_ok=True)
    assert callable(place)
    place(small_run / name)
    try:
        assert verify_run(small_run).state == "corrupt"
        assert open_run(small_run).status == "complete"
    except SpecwbError as problem:
        assert name == "manifest.json"
        assert "is no regular file" in str(problem)  # noqa: PT017 both ways of refusing are right


@pytest.mark.parametrize("place", PLACES)
def test_only_regular_files_are_read(tmp_path: Path, place: object) -> None:
    assert callable(place)
    place(tmp_path / "file")
    with pytest.raises(OSError, match="is no regular file"):
        read_regular(tmp_path / "file")


def test_a_planted_link_is_not_followed_to_write(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "file").symlink_to(victim)
    with pytest.raises(EnvironmentProblemError, match="a link is at its place"):
        AppendFile(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EnvironmentProblemError, match="is no regular file"):
        AppendFile(tmp_path / "pipe")
    assert victim.read_text() == "precious"


def forged_stream(num_rows: int, claimed: int, run: str) -> bytes:
    """One batch of many rows without values, which packs into next to nothing."""
    schema = arrow_schema()
    head = frames.encode_schema(schema, {"format": FORMAT_VERSION, "run": run, "path": "fused"})
    columns = [pa.nulls(num_rows, field.type) for field in schema]
    batch = pa.RecordBatch.from_arrays(
        columns, schema=pa.schema([field.with_nullable(True) for field in schema])
    )
    facts = {
        "kind": "batch",
        "number": 0,
        "first_row": 0,
        "num_rows": claimed,
        "previous": frames.crc_of(head),
    }
    return head + frames.encode_batch(batch, facts, "zstd")


@pytest.mark.parametrize(("num_rows", "claimed"), [(65, 65), (20_000, 20_000), (20_000, 64), (64, 64)])
def test_a_batch_of_too_many_rows_or_without_keys_is_corrupt_and_never_unpacked(
    small_run: Path, num_rows: int, claimed: int
) -> None:
    run_id = str(open_run(small_run).manifest["run_id"])
    (small_run / "fused.arrows").write_bytes(forged_stream(num_rows, claimed, run_id))
    before = pa.total_allocated_bytes()
    health = verify_run(small_run)
    assert pa.total_allocated_bytes() - before < 1 << 22
    (file,) = (file for file in health.files if file.name == "fused.arrows")
    assert file.state == "corrupt"
    wanted = "at most 64" if claimed > 64 else "number of rows" if num_rows > 64 else "without prompt_id"
    assert wanted in file.message


def test_an_export_of_a_damaged_run_says_how_much_of_it_there_is(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray((small_run / "fused.arrows").read_bytes())
    frame = open_run(small_run).path("fused").stream.batches[0]
    data[frame.stop - 40] ^= 4
    (small_run / "fused.arrows").write_bytes(bytes(data))
    assert run_command(["trace", "export", str(small_run), str(tmp_path / "out"), "--parquet"]) == 2
    assert "0 of 3 rows of fused" in capsys.readouterr().err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "fused.parquet",
        "reference.parquet",
    ]


def test_a_run_that_is_only_unfinished_is_exported(small_run: Path, tmp_path: Path) -> None:
    shutil.copytree(small_run, tmp_path / "copy")
    assert len(export_run(tmp_path / "copy", tmp_path / "out")) == 2
