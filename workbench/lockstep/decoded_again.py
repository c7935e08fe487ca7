"""Turns decoded once more in staged lockstep, up to a step: what is found until there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from invariants.context import RunContext
from invariants.run import Checker
from tracing.finding import Finding
from tracing.recorder import RunWriter
from tracing.stages import DecodePath
from workbench.judge.verdict import Tally
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.staged.run import StagedRun
from workbench.lockstep.truth.reference_runner import ReferenceRunner


class _EnoughError(Exception):
    """The last step that was asked for has been judged."""


def found_again(
    path: DecodePath,
    runner: ReferenceRunner,
    options: LockstepOptions,
    turns: Sequence[Turn],
    *,
    context: RunContext,
    dtype: str,
    last: tuple[int, int, int] | None = None,
    user_code: UserCode | None = None,
) -> tuple[Finding, ...]:
    """Decode turns and return what was found; the trace is thrown away.

    Args:
        path: The path under test.
        runner: The reference.
        options: How to judge.
        turns: What to decode.
        context: Limits that the rules may ask for.
        dtype: The tested path's dtype by name.
        last: Prompt, turn and step after which nothing more is decoded; None decodes all.
        user_code: Calls the code of the path under test.
    """
    with TemporaryDirectory(prefix="specwb-") as folder, RunWriter(Path(folder) / "run", {}) as writer:
        traces = (
            writer.path("fused", lacks=path.lacks, info=dict(path.info), on_error="warn"),
            writer.path("reference", lacks=runner.lacks, info=runner.info),
        )
        log = RunLog(writer, {trace.name: trace for trace in traces}, Checker(context), Tally())
        again = StagedRun(path, runner, runner.truth.pair, options, log, dtype=dtype, user_code=user_code)

        def tick(_: int) -> None:
            if last is not None and again.finished[-1].moment.place > last:
                raise _EnoughError

        with suppress(_EnoughError):
            again.run(turns, tick)
        log.abandon_step()
        return tuple(log.findings)
