"""What a recorder declares that it will record: the whole of which a verdict states its share.

The section `recording` of `manifest.json`. Without it every step from the first recorded one of a turn is
declared, and of the columns those that any row of the path has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from tracing.errors import UsageError
from tracing.manifest_facts import read_facts
from tracing.schema import column_named

RECORDING: Final = "recording"
"""Key of the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPlan:
    """What is recorded of what an engine does.

    Attributes:
        every: Of each turn the steps 0, `every`, 2 `every` and so on.
        open_start: The first steps of a turn may be missing, as in a ring that keeps the last ones; else they
            count as lost.
        open_end: The run has no planned end: a server is stopped by a signal, and is judged up to its last
            whole step. None: only where no prompt is worked off, in a run that is not in lockstep.
        columns: Columns that steps have; those that no row has then count as lost. Empty: what is recorded.
        part, parts: Which of how many runs, one per rank or process, that together make up the whole; of
            merged runs all that they are.

    Raises:
        UsageError: A number is too small, or there is no such column.
    """

    every: int = 1
    open_start: bool = False
    open_end: bool | None = None
    columns: tuple[str, ...] = ()
    part: tuple[int, ...] = (0,)
    parts: int = 1

    def __post_init__(self) -> None:
        for name in ("every", "parts"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} should be at least 1, got {getattr(self, name)}")
        if not self.part or not all(0 <= part < self.parts for part in self.part):
            raise UsageError(f"part should name some of 0 to {self.parts - 1}, got {self.part}")
        for column in self.columns:
            column_named(column)

    def as_manifest(self) -> dict[str, Any]:
        """Return the section of a manifest that states this plan."""
        return {RECORDING: asdict(self)}


UNDECLARED: Final = RecordingPlan(open_start=True)
"""Plan of a run that states none."""


def plan_of(manifest: Mapping[str, Any]) -> RecordingPlan:
    """Return the plan of a run; of a run in lockstep the end is planned unless it says otherwise.

    Raises:
        TraceError: The section is not of its kind.
    """
    section = manifest.get(RECORDING)
    return UNDECLARED if section is None else read_facts(RecordingPlan, section, RECORDING)


def has_open_end(manifest: Mapping[str, Any]) -> bool:
    """Return whether an interrupted run has recorded all that it was to record.

    Raises:
        TraceError: The plan is not of its kind.
    """
    stated = plan_of(manifest).open_end
    return manifest.get("lockstep") is None if stated is None else stated
