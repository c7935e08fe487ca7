"""`specwb_recorder`: what a user's own test records into, checked when the test has passed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from workbench.cli.plugin.items import ViolatedError, finding_lines, report
from workbench.cli.plugin.run_check import Options, run_check

if TYPE_CHECKING:
    from tracing.recorder import RunWriter, Step, Trace


class Recording:
    """Records steps of the engine under test; the folder is opened with the first one.

    Attributes:
        folder: The run folder.
        manifest: Facts of the run, to be filled in before the first step: `settings` (as in the trace
            format: `top_k`, `max_new_tokens`, ...), `limits` (`vocab_size`, `eos_token_ids`, ...), `models`.
        level: `basic`, `digest` or `full`.
        path_name: Name of the path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = {}
        self.level = "full"
        self.path_name = "fused"
        self._run: RunWriter | None = None
        self._trace: Trace | None = None

    def step(self, *, step: int, prompt_id: int = 0, turn: int = 0) -> Step:
        """Return the context of one step, as `tracing.Recorder.step` does."""
        from tracing.recorder import RunWriter

        if self._trace is None:
            self._run = RunWriter(self.folder, self.manifest)
            self._trace = self._run.path(self.path_name, level=self.level)
        return self._trace.step(step=step, prompt_id=prompt_id, turn=turn)

    def record(self, *, step: int, prompt_id: int = 0, turn: int = 0, **columns: Any) -> None:
        """Record a whole step at once."""
        with self.step(step=step, prompt_id=prompt_id, turn=turn) as open_step:
            open_step.record(**columns)

    def close(self) -> None:
        """Close the folder; further steps are refused."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def check(self, options: Options) -> Mapping[str, Any]:
        """Close the folder and check it.

        Raises:
            ViolatedError: An invariant is violated, or there was nothing to check.
        """
        if self._trace is None:
            raise ViolatedError("specwb_recorder recorded no step, so nothing was checked")
        self.close()
        answer = run_check(self.folder, options)
        if answer["exit_code"] == 0:
            return answer
        remark = f" ({answer['remark']})" if answer["remark"] else ""
        head = f"{self.folder}: {answer['verdict']}{remark}"
        raise ViolatedError(report([head, *answer["problems"], *finding_lines(answer)]))


RECORDING: pytest.StashKey[Recording] = pytest.StashKey()
"""Where a test item keeps its recording until it has run."""
