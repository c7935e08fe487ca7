"""One clean run: decoded in lockstep, recorded, checked; what was said against it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from clean.jobs import job
from invariants.selection import Selection
from workbench.faults.experiment import run_lockstep
from workbench.judge.recorded.check import check_run


@dataclass(frozen=True, slots=True)
class Seen:
    """What one clean run gave.

    Attributes:
        num_steps: Steps recorded on the path under test.
        alarms: Findings of lockstep and of `check`; a clean run has none.
    """

    about: str
    num_steps: int
    alarms: tuple[str, ...]


def clean_run(seed: int) -> Seen:
    """Decode one job in lockstep, check its recording, and return what was said against it."""
    wanted = job(seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        try:
            found = run_lockstep(wanted.setup, wanted.placement, run).findings
            checked = check_run(str(run), Selection())
        except Exception as error:  # noqa: BLE001  a crash is as bad as an alarm, and has a seed
            return Seen(wanted.about, 0, (f"seed {seed} ({wanted.about}): {type(error).__name__}: {error}",))
        every = [*found, *checked.findings]
        alarms = [
            f"{each.rule} at {each.moment}: {each.message}" for each in every if each.severity == "error"
        ]
        named = tuple(f"seed {seed} ({wanted.about}): {alarm}" for alarm in alarms[:3])
        return Seen(wanted.about, checked.num_steps, named)
