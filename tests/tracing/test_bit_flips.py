"""No bit of any file may change unnoticed: schema, padding, end record, journal, findings, manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.tracing.conftest import record_step
from tracing.errors import TraceError
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter

FINDING = Finding("numeric", "fused", Moment(0, 0, 1, "verify", 2), "logits", fused=1.5, message="too far")


def write_run(folder: Path, *, closed: bool) -> Path:
    """A tiny run with every kind of file; `closed=False` copies it while it is being written."""
    with RunWriter(folder / "live", token_bytes=lambda token_id: b"t%d" % token_id) as run:
        trace = run.path("fused")
        record_step(trace, 0)
        trace.seal()
        record_step(trace, 1)
        run.add_finding(FINDING)
        run.save_bulk(Moment(0, 0, 1, "verify"), "logits", np.arange(12.0).reshape(3, 4))
        with trace.step(step=2) as step:
            step.about_to_run("verify", committed_len=24)
            if not closed:
                shutil.copytree(folder / "live", folder / "run", ignore=shutil.ignore_patterns("lock"))
    if closed:
        shutil.copytree(folder / "live", folder / "run")
    return folder / "run"


@pytest.mark.parametrize("closed", [True, False])
def test_every_flipped_bit_is_noticed(tmp_path: Path, closed: bool) -> None:
    """One bit of every seventh byte of small files, of every 97th of the others; `make attack` flips more."""
    folder = write_run(tmp_path, closed=closed)
    before = verify_run(folder)
    assert before.state == ("complete" if closed else "truncated")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.name for path in files}
    assert {"manifest.json", "fused.arrows", "findings.jsonl", "vocabulary.arrows"} <= names
    assert ("fused.journal" in names) is not closed
    num_flips = 0
    for path in files:
        whole = path.read_bytes()
        for position in range(0, len(whole), 7 if len(whole) < 1500 else 97):
            changed = bytearray(whole)
            changed[position] ^= 1 << (position % 8)
            path.write_bytes(changed)
            num_flips += 1
            assert noticed(folder, before.state), f"bit {position % 8} of byte {position} of {path.name}"
        path.write_bytes(whole)
    assert num_flips > 350
    assert verify_run(folder) == before


def noticed(folder: Path, state_before: str) -> bool:
    """True when the folder is refused, or some file is worse than before."""
    try:
        health = verify_run(folder)
    except TraceError:
        return True
    return health.state != state_before and health.state in {"torn", "corrupt"}


def test_what_a_flip_in_one_batch_leaves_is_still_readable(tmp_path: Path) -> None:
    """Damage is named by batch, and the other batches come back."""
    with RunWriter(tmp_path / "run") as run:
        trace = run.path("fused")
        for step in range(5):
            record_step(trace, step)
            trace.seal()
    path = tmp_path / "run" / "fused.arrows"
    frame = open_run(tmp_path / "run").path("fused").stream.batches[2]
    data = bytearray(path.read_bytes())
    data[frame.stop - 20] ^= 4
    path.write_bytes(data)
    health = verify_run(tmp_path / "run")
    (damaged,) = [file for file in health.files if file.state != "complete"]
    assert (damaged.name, damaged.state, damaged.readable) == ("fused.arrows", "corrupt", "4 steps")
    assert "batch 2" in damaged.message
    reader = open_run(tmp_path / "run").path("fused")
    assert reader.columns(["step"]).column(0).to_pylist() == [0, 1, 3, 4]
    assert reader.problems
