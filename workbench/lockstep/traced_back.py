"""Where a finding of free lockstep began: its turn decoded once more, in staged lockstep, up to that step.

What a path alone records shows a wrong row only where a token, a digest or a rule hangs on it, which may be
stages or steps later. Staged lockstep looks at each stage. It is worth its time only after a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from invariants.context import RunContext
from tracing.finding import Finding
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.judge.cause_order import cause_key
from workbench.lockstep.decoded_again import found_again
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.free.runner import FreeRunner
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.truth.reference_runner import ReferenceRunner

NUM_STEPS: Final = 16
"""Steps judged from the first one on, and as many before that of the finding."""
OF_THE_CALL: Final = "RUN-"
"""Rules of how a call ended: they name the stage that was called."""
HOW: Final = "; seen when the turn was decoded again in staged lockstep"


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
        return found_again(
            self.path,
            self.runner,
            LockstepOptions(settings=self.settings, steps=steps),
            turns,
            context=self.context,
            dtype=self.dtype,
            last=(*turn, steps[1] - 1),
            user_code=self.user_code,
        )
