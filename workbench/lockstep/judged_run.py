"""Decode a session's turns in lockstep, judge and record them, and sum up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from invariants.context import RunContext
from invariants.run import Checker
from reference.path import make_path as make_reference
from tracing.distances import MANIFEST_KEY
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.recorder import RunWriter
from workbench.checkpoints.digests import weights_digest
from workbench.checkpoints.load import LoadedPair
from workbench.judge.turn_state import TurnState
from workbench.judge.verdict import Tally
from workbench.lockstep.free.run import FreeRun
from workbench.lockstep.recording.indices import IndexProbe
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.session.request import DiffRequest, Session
from workbench.lockstep.staged.run import StagedRun
from workbench.lockstep.sum_up import sum_up
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.report.summary import RunSummary

Tick = Callable[[int], None]
Decoded = tuple[Sequence[TurnState], RunLog, int]
"""Turns, log, and the number of steps that were not judged."""


WEIGHTS_CHANGED = Finding(
    verdict="structural",
    guilty="unknown",
    moment=Moment(0, 0, 0),
    column="weights",
    rule="RUN-WEIGHTS-CHANGED",
    message="the weights that both paths share were written to during the run: nothing that it shows holds",
)


@dataclass(frozen=True, slots=True)
class Shared:
    """Objects that both modes of lockstep use.

    Attributes:
        run: The folder being written.
        runner: The reference.
        tally: The verdict so far.
        tick: Called with the number of new tokens.
    """

    run: RunWriter
    runner: ReferenceRunner
    tally: Tally
    tick: Tick


def run_session(session: Session, request: DiffRequest, tick: Tick) -> RunSummary:
    """Decode, judge and record; when this ends, the folder is complete or its manifest gives the reason."""
    loaded = session.loaded
    with RunWriter(request.out, _manifest(session, request), token_bytes=loaded.tokenizer.token_bytes) as run:
        summary = _run(session, request, run, tick)
        run.update(verdict=summary.verdict, exit_code=summary.exit_code, coverage=dict(summary.coverage))
    return summary


def _run(session: Session, request: DiffRequest, run: RunWriter, tick: Tick) -> RunSummary:
    pair, settings = session.loaded.pair, request.options.settings
    runner = ReferenceRunner(
        pair,
        settings,
        path_dtype=session.dtype,
        rung=request.rung,
        device=request.reference_device,
        num_samples=request.options.num_samples,
    )
    tally = Tally(chain=runner.is_chain)
    shared = Shared(run, runner, tally, tick)
    decode = _free if request.options.mode == "free" else _staged
    finished, log, unjudged_steps = decode(session, request, shared)
    if not _weights_unchanged(session.loaded):
        log.add([WEIGHTS_CHANGED])
    return sum_up(
        tally.verdict(),
        finished,
        log,
        session.loaded.tokenizer.decode,
        run=run.folder,
        unjudged_steps=unjudged_steps,
        manifest={
            "path": dict(session.path.info),
            "reference": runner.info,
            "backend": dict(request.backend),
        },
    )


def _context(session: Session, request: DiffRequest) -> RunContext:
    pair = session.loaded.pair
    return RunContext.from_settings(
        request.options.settings,
        pair,
        kv_capacity=session.path.info.get("kv_capacity"),
        num_slots=session.path.info.get("num_slots"),
    )


def _staged(session: Session, request: DiffRequest, shared: Shared) -> Decoded:
    path = session.path
    traces = {
        "fused": shared.run.path("fused", lacks=path.lacks, info=dict(path.info), on_error="warn"),
        "reference": shared.run.path("reference", lacks=shared.runner.lacks, info=shared.runner.info),
    }
    log = RunLog(shared.run, traces, Checker(_context(session, request)), shared.tally)
    staged = StagedRun(path, shared.runner, session.loaded.pair, request.options, log, dtype=session.dtype)
    try:
        staged.run(session.turns, shared.tick)
    finally:
        log.abandon_step()
    log.finish()
    _record_not_inspected(shared.run, staged.indices)
    return staged.finished, log, staged.judge.unjudged_steps


def _free(session: Session, request: DiffRequest, shared: Shared) -> Decoded:
    pair, settings = session.loaded.pair, request.options.settings
    reference = make_reference(
        pair, settings, device=request.reference_device, dtype=shared.runner.truth_dtype, rung=request.rung
    )
    free = FreeRun(
        (session.path, reference),
        pair,
        settings,
        writer=shared.run,
        checker=Checker(_context(session, request)),
        tally=shared.tally,
        watch_indices=request.options.watch_indices,
    )
    free.run(session.turns, shared.runner, session.dtype, shared.tick)
    _record_not_inspected(shared.run, free.runs[0].indices)
    return free.runs[0].finished, free.logs[0], 0


def _record_not_inspected(run: RunWriter, indices: IndexProbe) -> None:
    """Write to the manifest which operators the index watch could not inspect."""
    if not_inspected := indices.not_inspected():
        run.update(index_watch_blind=dict(not_inspected))


def _weights_unchanged(loaded: LoadedPair) -> bool:
    now = (weights_digest(loaded.pair.teacher_weights), weights_digest(loaded.pair.drafter_weights))
    return now == (loaded.digests.teacher_weights, loaded.digests.drafter_weights)


def _manifest(session: Session, request: DiffRequest) -> dict[str, Any]:
    loaded, options = session.loaded, request.options
    settings, limits = options.settings, _limits(_context(session, request))
    return {
        "lockstep": options.mode,
        "engine": session.path.name,
        "backend": dict(request.backend),
        "models": {
            "teacher": request.model or "tiny-pangu",
            "drafter": request.draft or "tiny-pangu",
            "digests": loaded.digests.as_json(),
            "load_report": loaded.report.as_json(),
        },
        "settings": {name: getattr(settings, name) for name in settings.__dataclass_fields__},
        "options": {
            name: getattr(options, name) for name in options.__dataclass_fields__ if name != "settings"
        },
        "limits": limits,
        "reference": {"rung": request.rung, "device": request.reference_device},
        "prompt_file": request.prompt_file,
        MANIFEST_KEY: list(request.distance_edges),
    }


def _limits(context: RunContext) -> dict[str, Any]:
    """The facts that the rules used, as plain data, so that the trace is checked later by the same ones."""
    known = {name: value for name, value in asdict(context).items() if value is not None}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in known.items()}
