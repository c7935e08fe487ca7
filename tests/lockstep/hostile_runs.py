"""`specwb diff` in this process on a port that misbehaves, and what must hold however it does."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checkpoints import synthetic
from tests.lockstep import hostile_ports
from tests.lockstep.hostile_ports import Act, Placed
from tracing.reader import open_run
from workbench.cli.run import run_command

SHAPE = ("--tree-nodes", "8", "--depth", "2", "--top-k", "3", "--max-new-tokens", "6")
DOCUMENTED = {0, 1, 2, 3, 4}


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    said: str
    complaint: str
    folder: Path

    @property
    def summary(self) -> dict[str, Any]:
        """What `--format json` printed; nothing else may stand on stdout."""
        parsed: dict[str, Any] = json.loads(self.said)
        return parsed

    @property
    def first(self) -> dict[str, Any]:
        """The first finding."""
        return dict(self.summary["first_divergence"] or {})


class Runs:
    """Runs ports on a small pair, each into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        synthetic.hf_teacher(folder / "teacher")
        synthetic.official(folder / "drafter")
        (folder / "prompt.txt").write_text("abc def")

    def diff(self, *more: str, fused: str = "tests.lockstep.hostile_ports:factory") -> Ended:
        """Run the command."""
        self._count += 1
        run = self.folder / f"run{self._count}"
        models = ("--model", str(self.folder / "teacher"), "--draft", str(self.folder / "drafter"))
        argv = ["diff", "--prompt", str(self.folder / "prompt.txt"), *models, *SHAPE, "--fused", fused]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command([*argv, "--format", "json", "--out", str(run), *more])
        return Ended(code, out.getvalue(), err.getvalue(), run)

    def misbehaving(self, member: str, act: Act, *more: str, from_call: int = 1) -> Ended:
        """Run the command on our path, one member of which misbehaves from a call on."""
        hostile_ports.placed[:] = [Placed(member, act, from_call)]
        try:
            return self.diff(*more)
        finally:
            hostile_ports.placed.clear()


def require_orderly(ended: Ended) -> None:
    """However the port behaves: a documented exit code, and a run that is closed and can be read."""
    assert ended.code in DOCUMENTED, ended.complaint
    recorded = open_run(ended.folder)
    assert recorded.status == "complete"
    assert recorded.manifest["exit_code"] == ended.code == ended.summary["exit_code"]
    assert [each.as_json() for each in recorded.findings] == ended.summary["findings"]


def require_found(ended: Ended, stage: str, *, frame: str = "") -> None:
    """A finding that names the stage, in report and run, with the port's own frames where it raised."""
    require_orderly(ended)
    assert ended.code == 1
    assert ended.first["stage"] == stage, ended.first["message"]
    assert ended.first["guilty"] == "fused"
    if frame:
        assert frame in ended.first["frames"][-1]
        assert frame in ended.first["message"]
        assert not [each for each in ended.first["frames"] if "workbench/lockstep" in each]
