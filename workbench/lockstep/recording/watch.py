"""The live watch: journals a stage's inputs, then checks the rules that can already be checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tracing.columns import COLUMN_BY_NAME
from tracing.errors import LaunchRefusedError
from tracing.finding import Finding, has_error
from tracing.hostarray import host_array
from workbench.lockstep.recording.indices import IndexProbe
from workbench.lockstep.recording.offsets import OffsetProbe

Journal = Callable[[str, Mapping[str, Any]], None]
LiveCheck = Callable[[str, Mapping[str, Any]], tuple[Finding, ...]]


class LiveWatch:
    """Implements `tracing.stages.StageWatch` for one path of a run.

    Attributes:
        probe: Draft attention offsets of the step in progress.
        indices: Index sites of the step in progress, if watched.
        findings: Findings of live checks since the last `take_findings`.
        announced: Stages that told what they were about to run.
        unknown: Stage and name of what was told under a name that is no column.
        outside: Makes what the watch runs in, inside a call of the path: settings of the process that are the
            workbench's own.
    """

    def __init__(
        self, journal: Journal, check: LiveCheck, *, refuse: bool, watch_indices: bool = False
    ) -> None:
        """Journal first, then check; a violated launch is refused when `refuse` is True."""
        self._journal = journal
        self._check = check
        self._refuse = refuse
        self.probe = OffsetProbe()
        self.indices = IndexProbe(on=watch_indices)
        self.findings: list[Finding] = []
        self.announced: set[str] = set()
        self.unknown: set[tuple[str, str]] = set()
        self.outside: Callable[[], AbstractContextManager[None]] = nullcontext

    def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
        """Write the inputs down, check them, and refuse the launch if they are wrong."""
        self.announced.add(stage)
        self.unknown.update((stage, str(name)) for name in columns if name not in COLUMN_BY_NAME)
        with self.outside():
            arrays = {name: _on_host(name, value) for name, value in columns.items()}
            self._journal(stage, arrays)
            found = self._check(stage, arrays)
        self.findings.extend(found)
        if self._refuse and has_error(found):
            raise LaunchRefusedError(stage, found)

    def saw_draft_attention(self, **given: Any) -> None:
        """Probe the attention of one expansion."""
        with self.outside(), self.indices.paused():
            self.probe.saw_draft_attention(**given)

    def unseen(self, stages: Collection[str]) -> dict[str, str]:
        """Return what these stages launched without telling, as `stage.quantity`, and what that costs."""
        silent = {
            f"{stage}.inputs": f"about_to_run was never called with {stage!r}: its inputs are neither "
            "checked before the launch nor in the trace if it never returns"
            for stage in stages
            if stage not in self.announced
        }
        other = {
            f"{stage}.{name}": "about_to_run named it and the trace has no such column: it is not checked"
            for stage, name in sorted(self.unknown)
        }
        return silent | other

    def take_findings(self) -> tuple[Finding, ...]:
        """Return and clear the findings of live checks."""
        found, self.findings = tuple(self.findings), []
        return found


def _on_host(name: str, value: Any) -> Any:
    """Rules and journal read host arrays; a port may hand over tensors of its device."""
    return value if value is None or isinstance(value, (str, int, bool)) else host_array(value, name)
