"""Where a finding of free lockstep began: its turn decoded once more, in staged lockstep, up to that step.

What a path alone records shows a wrong row only where a token, a digest or a rule hangs on it, which may be
stages or steps later. Staged lockstep looks at each stage. It is worth its time only after a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from invariants.context import RunContext
from invariants.run import Checker
from tracing.finding import Finding
from tracing.recorder import RunWriter
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.judge.cause_order import cause_key
from workbench.judge.verdict import Tally
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.free.runner import FreeRunner
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.staged.run import StagedRun
from workbench.lockstep.truth.reference_runner import ReferenceRunner

NUM_STEPS: Final = 16
"""Steps judged from the first one on, and as many before that of the finding."""
OF_THE_CALL: Final = "RUN-"
"""Rules of how a call ended: they name the stage that was called."""
HOW: Final = "; seen when the turn was decoded again in staged lockstep"


class _EnoughError(Exception):
    """The step of the finding has been judged."""


@dataclass(frozen=True, slots=True)
class TraceBack:
    """Decodes again what a free run decoded.

    Attributes:
        path: The path under test.
        runner: The reference.
        settings: Of both paths.
        context: Limits that the rules may ask for.
        dtype: The tested path's dtype by name.
        user_code: Calls the code of the path under test.
    """

    path: DecodePath
    runner: ReferenceRunner
    settings: DecodeSettings
    context: RunContext
    dtype: str
    user_code: UserCode | None = None

    def after(self, decoded: FreeRunner, turns: Sequence[Turn]) -> None:
        """Put the cause of the first error of a free run before it, where staged lockstep finds one."""
        first = next((each for each in decoded.log.findings if each.severity == "error"), None)
        if first is None or first.guilty == "reference" or first.rule.startswith(OF_THE_CALL):
            return
        try:
            cause = self._cause(first, turns)
        except Exception:  # noqa: BLE001  a port may raise anything when it runs again; then nothing more is known
            return
        if cause is not None:
            decoded.log.found_before(replace(cause, message=cause.message + HOW))

    def _cause(self, first: Finding, turns: Sequence[Turn]) -> Finding | None:
        """Return what staged lockstep finds no later than this finding; None where that is nothing."""
        step, turn = first.moment.step, first.moment.place[:2]
        so_far = [each for each in turns if (each.prompt_id, each.turn) <= turn]
        for start in dict.fromkeys((0, max(0, step + 1 - NUM_STEPS))):
            found = self._decoded(so_far, (start, min(start + NUM_STEPS, step + 1)), turn)
            errors = [each for each in found if each.severity == "error" and each.guilty != "reference"]
            if errors:
                return errors[0] if cause_key(errors[0]) < cause_key(first) else None
        return None

    def _decoded(
        self, turns: Sequence[Turn], steps: tuple[int, int], turn: tuple[int, int]
    ) -> Sequence[Finding]:
        """Decode turns up to the last of these steps of a turn; return what was found."""
        options, stop = LockstepOptions(settings=self.settings, steps=steps), (*turn, steps[1])
        with TemporaryDirectory(prefix="specwb-") as folder, RunWriter(Path(folder) / "run", {}) as writer:
            traces = (
                writer.path("fused", lacks=self.path.lacks, info=dict(self.path.info), on_error="warn"),
                writer.path("reference", lacks=self.runner.lacks, info=self.runner.info),
            )
            log = RunLog(writer, {trace.name: trace for trace in traces}, Checker(self.context), Tally())
            pair = self.runner.truth.pair
            again = StagedRun(
                self.path, self.runner, pair, options, log, dtype=self.dtype, user_code=self.user_code
            )

            def tick(_: int) -> None:
                if again.finished[-1].moment.place >= stop:
                    raise _EnoughError

            with suppress(_EnoughError):
                again.run(turns, tick)
            log.abandon_step()
            return tuple(log.findings)
