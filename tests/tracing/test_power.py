"""The power fails: of a run that waits for the disk, every step and finding that was told is still there."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

import tracing.files
from tests.tracing.conftest import record_step
from tracing.errors import UsageError
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter


class Memory:
    """`os` that remembers what a disk must hold: bytes and names as they were when last waited for."""

    def __init__(self) -> None:
        self.bytes: dict[int, bytes] = {}
        self.names: dict[Path, dict[str, int]] = {}

    def fsync(self, handle: int) -> None:
        state = os.fstat(handle)
        if stat.S_ISDIR(state.st_mode):
            folder = Path(f"/proc/self/fd/{handle}").readlink()
            self.names[folder] = {
                entry.name: entry.inode() for entry in os.scandir(folder) if entry.is_file()
            }
        else:
            self.bytes[state.st_ino] = os.pread(handle, state.st_size, 0)

    fdatasync = fsync

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def restore(self, folder: Path, out: Path) -> Path:
        """Write what of a folder survives, and not a byte more."""
        assert folder.parent in self.names
        for parent in (folder, folder / "bulk"):
            for name, inode in self.names.get(parent, {}).items():
                if inode in self.bytes and name != "lock":
                    target = out / parent.relative_to(folder) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(self.bytes[inode])
        return out


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_what_was_told_survives_the_loss_of_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    monkeypatch.setattr(tracing.files, "os", memory)
    run = RunWriter(tmp_path / "run", token_bytes=lambda token_id: b"%d" % token_id, durability="power")
    traces = [run.path(name) for name in ("fused", "reference")]
    for step in range(9):
        for trace in traces:
            record_step(trace, step)
        if step % 3 == 2:
            traces[0].seal()
        run.add_finding(Finding("ok", "unknown", Moment(0, 0, step, "verify"), ""))
        tensor = Moment(0, 0, step, "verify")
        run.save_bulk(tensor, "logits", [1.0, step])
        found = memory.restore(tmp_path / "run", tmp_path / f"after-{step}")
        health = verify_run(found)
        assert health.state == "truncated", health
        assert health.num_steps == {"fused": step + 1, "reference": step + 1}
        opened = open_run(found)
        assert len(opened.findings) == step + 1
        assert opened.bulk(tensor, "logits").tolist() == [1.0, step]
        last = opened.path("reference").step(step)["token_ids"].tolist()
        assert set(last) <= set(opened.vocabulary)
    run.close()
    assert verify_run(memory.restore(tmp_path / "run", tmp_path / "closed")).state == "complete"
    assert open_run(tmp_path / "run").manifest["durability"] == "power"


def test_there_are_two_kinds_of_durability(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="durability"):
        RunWriter(tmp_path / "run", durability="never")  # type: ignore[arg-type]  # what a host may type
