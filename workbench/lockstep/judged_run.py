"""Decode a session's turns in lockstep, judge and record them, and sum up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from invariants.context import RunContext
from reference.drafters import drafter_of
from reference.path import make_path as make_reference
from tracing.distances import MANIFEST_KEY
from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.moment import Moment
from tracing.recorder import RunWriter
from tracing.run_facts import ModelFacts
from tracing.settings import DecodeSettings
from workbench.checkpoints.digests import weights_digest
from workbench.checkpoints.load import LoadedPair
from workbench.judge.hidden import sentence
from workbench.judge.verdict import RunVerdict, Tally
from workbench.lockstep.acceptance import acceptance_warnings
from workbench.lockstep.engine.interrupts import interrupts_watched
from workbench.lockstep.free.run import FreeRun
from workbench.lockstep.quality import quality_of
from workbench.lockstep.session.auto import AutoSession
from workbench.lockstep.session.contexts import context_of, facts_of, loosest
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.request import AUTO, DiffRequest, Session
from workbench.lockstep.session.turns import Tick, TurnsRunner
from workbench.lockstep.staged.orchestrated import JudgedChoice, judge_requests
from workbench.lockstep.staged.run import judge_turns
from workbench.lockstep.traced_back import TraceBack
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.report.summary import RunSummary

WEIGHTS_CHANGED = Finding(
    verdict="structural",
    guilty="unknown",
    moment=Moment(0, 0, 0),
    column="weights",
    rule="RUN-WEIGHTS-CHANGED",
    message="the weights that both paths share were written to during the run: nothing that it shows holds",
)


def run_session(session: Session, request: DiffRequest, tick: Tick) -> RunSummary:
    """Decode, judge and record; when this ends, the folder is complete or its manifest gives the reason."""
    loaded = session.loaded
    with (
        interrupts_watched(),
        RunWriter(request.out, _manifest(session, request), token_bytes=loaded.tokenizer.token_bytes) as run,
    ):
        summary = _run(session, request, run, tick)
        seen = acceptance_warnings(run.folder) if loaded.report.acceptance_tells else ()
        run.update(
            verdict=summary.verdict,
            exit_code=summary.exit_code,
            share=summary.share,
            remark=summary.remark,
            warnings=list(seen),
            coverage=dict(summary.coverage),
            could_hide=summary.hidden,
        )
    return replace(summary, warnings=session.warnings + seen)


def _run(session: Session, request: DiffRequest, run: RunWriter, tick: Tick) -> RunSummary:
    if session.auto is not None:
        return _run_auto(session, session.auto, request, run, tick)
    pair, options = session.loaded.pair, request.options
    runner = runner_of(session, request, pair, options.settings, session.model_facts(options.settings))
    tally = Tally(chain=runner.is_chain)
    context = _context(session, request)
    shared: dict[str, Any] = {"writer": run, "context": context, "tally": tally, "dtype": session.dtype}
    decoded: TurnsRunner
    if options.mode == "free":
        reference = make_reference(
            pair,
            options.settings,
            device=request.reference_device,
            dtype=runner.truth_dtype,
            rung=request.rung,
        )
        asked: dict[str, Any] = {"settings": options.settings, "runner": runner}
        asked |= {"user_code": session.user_code}
        free_run = FreeRun(**asked, **shared, watch_indices=options.watch_indices)
        decoded = free = free_run.run(session.path, reference, session.turns, tick)
        TraceBack(session.path, context=context, dtype=session.dtype, **asked).after(free, session.turns)
    else:
        decoded = judge_turns(
            session.path,
            runner,
            pair,
            options,
            session.turns,
            tick=tick,
            user_code=session.user_code,
            **shared,
        )
    return _summed_up(decoded, tally, session, request, run=run, reference=runner.info)


def runner_of(
    session: Session, request: DiffRequest, pair: ModelPair, settings: DecodeSettings, facts: ModelFacts
) -> ReferenceRunner:
    """Return the reference of a run with this pair and these settings."""
    return ReferenceRunner(
        pair,
        settings,
        path_dtype=session.dtype,
        rung=request.rung,
        device=request.reference_device,
        model_facts=facts,
    )


def _run_auto(
    session: Session, auto: AutoSession, request: DiffRequest, run: RunWriter, tick: Tick
) -> RunSummary:
    """Decode with the choice of each request; rules that hold for one tree are bound to its request."""
    contenders = auto.lineup.contenders
    pairs = {name: loaded.pair for name, loaded in auto.lineup.pairs.items()}
    choices = {
        name: JudgedChoice(
            pairs[name],
            context_of(pairs[name], each.path, each.settings),
            partial(
                runner_of,
                session,
                request,
                pairs[name],
                each.settings,
                facts_of(pairs[name], each.path, each.settings),
            ),
            is_chain=drafter_of(pairs[name]).never_branches(each.settings),
        )
        for name, each in contenders.items()
    }
    tally = Tally()
    decoded = judge_requests(
        auto,
        request.options,
        session.turns,
        choices=choices,
        writer=run,
        context=_context(session, request),
        tally=tally,
        dtype=session.dtype,
        user_code=session.user_code,
        tick=tick,
    )
    summary = _summed_up(decoded, tally, session, request, run=run, reference=decoded.reference_info)
    return replace(summary, choices=tuple(decoded.requests))


def _summed_up(
    decoded: TurnsRunner,
    tally: Tally,
    session: Session,
    request: DiffRequest,
    *,
    run: RunWriter,
    reference: Mapping[str, Any],
) -> RunSummary:
    if not_inspected := decoded.indices.not_inspected():
        run.update(index_watch_blind=dict(not_inspected))
    if not all(_weights_unchanged(each) for each in session.every_pair):
        decoded.log.add([WEIGHTS_CHANGED])
    manifest = {
        "dtype": session.dtype,
        "path": dict(session.path.info),
        "reference": dict(reference),
        "backend": dict(request.backend),
    }
    verdict = tally.verdict(decoded.share(tally))
    summary = _summary(decoded, verdict, session.loaded.tokenizer.decode, run.folder, manifest)
    return replace(summary, quality=_quality(session, request, decoded, run))


def _quality(session: Session, request: DiffRequest, decoded: TurnsRunner, run: RunWriter) -> str:
    """Return what the unquantised teacher says of the text; empty where it is the one that decoded."""
    unquantised = session.loaded.unquantised
    if unquantised is None:
        return ""
    quality = quality_of(unquantised, decoded.finished, request.reference_device)
    run.update(quality=quality.as_json())
    if unquantised.teacher.experts is None:
        return quality.sentence()
    return f"{quality.sentence()}; in int4 are attention, experts and shared experts, routers are not"


def _summary(
    decoded: TurnsRunner,
    verdict: RunVerdict,
    decode: Callable[[Sequence[int]], str],
    run: Path,
    manifest: Mapping[str, Any],
) -> RunSummary:
    """Fold the verdict, the decoded turns and the log into what reports are made from."""
    emitted = tuple(tuple(turn_state.emitted) for turn_state in decoded.finished)
    skipped = sorted({missing.stage for missing in verdict.not_checked if missing.quantity == "*"})
    remarks = [verdict.remark]
    if skipped:
        remarks.append(f"not checked: {', '.join(skipped)}")
    return RunSummary(
        verdict=verdict.verdict,
        remark="; ".join(filter(None, remarks)),
        exit_code=verdict.exit_code,
        steps=sum(turn_state.step for turn_state in decoded.finished),
        unjudged_steps=decoded.unjudged_steps,
        emitted_token_ids=emitted,
        emitted_text=tuple(decode(turn) for turn in emitted),
        num_accepted=tuple(number for turn_state in decoded.finished for number in turn_state.num_accepted),
        near_ties=verdict.near_ties,
        routing_near_ties=verdict.routing_near_ties,
        findings=tuple(decoded.log.findings),
        invariants=decoded.log.invariant_counts(),
        not_checked={
            f"{missing.stage}.{missing.quantity}: {missing.reason}": count
            for missing, count in verdict.not_checked.items()
        }
        | decoded.unseen()
        | decoded.log.unseen_rules(),
        coverage=verdict.coverage,
        hidden=sentence(verdict.hidden, str(manifest["dtype"])),
        could_hide={quantity: each.as_json() for quantity, each in verdict.hidden.items()},
        share=None if verdict.share is None else verdict.share.as_json(),
        run=run,
        manifest=manifest,
        leanings=decoded.leanings(),
    )


def _context(session: Session, request: DiffRequest) -> RunContext:
    """Return the limits of every request of the run."""
    sampling = request.options.sampling
    chosen = {} if sampling is None else {"": sampling}
    if session.auto is None:
        only = context_of(session.loaded.pair, session.path, request.options.settings)
        return replace(only, request_sampling=chosen)
    lineup = session.auto.lineup
    every = [
        context_of(lineup.pairs[name].pair, each.path, each.settings)
        for name, each in lineup.contenders.items()
    ]
    return replace(loosest(every), request_sampling=chosen)


def requests_of(options: LockstepOptions) -> dict[str, Any]:
    """Return the section of the manifest that says how a run samples; nothing where it is greedy."""
    sampling = options.sampling
    return {} if sampling is None else {"requests": {"": {"sampling": asdict(sampling)}}}


def _weights_unchanged(loaded: LoadedPair) -> bool:
    now = (weights_digest(loaded.pair.teacher_weights), weights_digest(loaded.pair.drafter_weights))
    return now == (loaded.digests.teacher_weights, loaded.digests.drafter_weights)


def _manifest(session: Session, request: DiffRequest) -> dict[str, Any]:
    loaded, options = session.loaded, request.options
    return {
        "lockstep": options.mode,
        "engine": session.path.name,
        "backend": dict(request.backend),
        "models": {
            "teacher": request.model or "tiny-pangu",
            "drafter": request.draft or "tiny-pangu",
            "proposer": loaded.pair.proposer if session.auto is None else AUTO,
            "weights": loaded.weights,
            "digests": loaded.digests.as_json(),
            "load_report": loaded.report.as_json(),
        },
        "settings": options.settings.as_read(session.reads),
        "options": {
            name: getattr(options, name) for name in options.__dataclass_fields__ if name != "settings"
        },
        "limits": limits_of(_context(session, request)),
        "model_facts": asdict(session.model_facts(options.settings)),
        **requests_of(options),
        "reference": {"rung": request.rung, "device": request.reference_device},
        "prompt_file": request.prompt_file,
        MANIFEST_KEY: list(request.distance_edges),
    }


OF_REQUESTS: Final = frozenset({"model_facts", "request_offsets", "request_sampling"})
"""Facts that the manifest holds elsewhere than in its limits."""


def limits_of(context: RunContext) -> dict[str, Any]:
    """Return the facts that the rules used, as plain data: the trace is checked later by the same ones."""
    known = {name: value for name, value in asdict(context).items() if value is not None}
    known = {name: value for name, value in known.items() if name not in OF_REQUESTS}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in known.items()}
