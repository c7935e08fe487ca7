"""`specwb locate RUN`: from a wrong token of a recorded run to the step and stage that caused it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from tracing.errors import UsageError
from tracing.manifest_facts import table
from tracing.moment import Moment
from tracing.reader import Run, open_run
from tracing.settings import PROPOSERS
from workbench.cli.decode_options import AUTO
from workbench.cli.diff import request_of
from workbench.cli.output import detail, say
from workbench.cli.planted import planted_all
from workbench.cli.replay_models import weights_of
from workbench.cli.replay_summary import facts_of, path_under_test_of, settings_of
from workbench.judge.cache_history import CacheHistory, cache_history
from workbench.view.chain_file import Link, write_chain
from workbench.view.safe_text import safe_json

if TYPE_CHECKING:
    from tracing.stages import DecodePath
    from workbench.locate.scene import Subject
    from workbench.locate.symptom import RecordedTurn
    from workbench.locate.trace_back import TracedBack
    from workbench.lockstep.session.request import DiffRequest, Session
    from workbench.npu.bootstrap import Backend

STAGED: Final = {
    "lockstep": "staged",
    "on_divergence": "stop",
    "on_violation": "stop",
    "steps": ":",
    "judge_every": 1,
    "watch_indices": False,
    "distance_edges": None,
}
"""Options of diff that the command does not have."""
SHIPPED_NAME: Final = "tiny-pangu"
"""What a manifest calls the shipped pair."""
WITH_A_RUN: Final = frozenset(
    {
        *("run", "at", "rerun", "fault_names", "model", "draft", "trust_remote_code", "fused", "eager"),
        *("device", "dtype", "npu_backend", "npu_mode", "reference", "reference_device", "stage_timeout"),
        *("output_format", "quiet", "verbose", "output_file", "help"),
    }
)
"""Options that may be given with a run; it states all others itself, or they are for a run made now."""


def locate_run(folder: str, asked: str | None, options: dict[str, Any]) -> int:
    """Find the symptom of a run, trace it back, and report; returns the exit code.

    Raises:
        SpecwbError: Anything that the user can mend.
    """
    _refuse_what_the_run_states()
    run = open_run(folder)
    name = path_under_test_of(run, None)
    moment = None if asked is None else Moment.parse(asked)
    traced, num_judged = None, 0
    if options["rerun"]:
        symptom, traced, num_judged = _with_the_path(run, name, moment, options)
    else:
        symptom = _without_the_path(run, moment)
    history = None if symptom is None else _history(run, name, symptom.moment)
    from workbench.locate.chain_text import chain_text, links_of

    if symptom is not None and history is not None:
        write_chain(run.folder, links_of(symptom, traced, history))
    if options["output_format"] == "json":
        click.echo(safe_json(_as_json(symptom, traced, history) | {"judged_tokens": num_judged}))
    else:
        lines = chain_text(symptom, traced, history, num_judged=num_judged, full=detail() == "full")
        say("\n".join([*lines, f"run         {run.folder}  (specwb view, key C, follows the way)"]))
    if symptom is not None:
        return 1
    return 0 if num_judged else 4  # nobody looked at its tokens


def _refuse_what_the_run_states() -> None:
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        typed = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if typed and name not in WITH_A_RUN:
            raise UsageError(f"{parameter.opts[-1]} is for a run that is made now, with --prompt")


def _without_the_path(run: Run, moment: Moment | None) -> Link | None:
    """Return the symptom that the run itself shows."""
    found = [each for each in run.findings if each.severity == "error"]
    if moment is not None:
        found = [each for each in found if each.moment.place == moment.place]
    if found:
        return Link(moment or found[0].moment, f"{found[0].rule} {found[0].message}".strip())
    return None if moment is None else Link(moment, "asked for; no finding is recorded there")


def _history(run: Run, name: str, moment: Moment) -> CacheHistory:
    rows = (row for row in run.path(name) if Moment.of_row(row).place[:2] == moment.place[:2])
    return cache_history(row for row in rows if row["step"] <= moment.step)


def _with_the_path(
    run: Run, name: str, asked: Moment | None, options: Mapping[str, Any]
) -> tuple[Link | None, TracedBack | None, int]:
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap(options["npu_backend"])
    from workbench.locate.symptom import first_symptom, recorded
    from workbench.locate.trace_back import Recorded, trace_back
    from workbench.lockstep.texts.judging import TextJudge
    from workbench.npu.capability import as_here

    turns = recorded(run.path(name))
    session, request = _opened(run, name, turns, backend, options)
    with planted_all(options["fault_names"], options["fused"]) as plant, as_here(options["npu_mode"]):
        subject = subject_of(session, request, plant(session.path))
        symptom, num_judged = _without_the_path(run, asked), 0
        if asked is None:
            is_greedy = request.options.settings.is_greedy
            judge = TextJudge(subject.runner, subject.dtype, subject.pair.eos_token_ids)
            symptom, num_judged = first_symptom(turns, run.findings, judge if is_greedy else None)
        if symptom is None:
            return None, None, num_judged
        at = symptom.moment
        turn = turns.get(at.place[:2])
        if turn is None or (at.step and at.step not in turn.committed):
            raise UsageError(f"{run.folder} has no step {':'.join(map(str, at.place))} on path {name}")
        own = [each for each in subject.turns if (each.prompt_id, each.turn) <= at.place[:2]]
        before = Recorded(tuple(turn.committed.get(at.step, ())), turn.digests.get(at.step))
        return symptom, trace_back(replace(subject, turns=own), symptom, before), num_judged


def _opened(
    run: Run,
    name: str,
    turns: Mapping[tuple[int, int], RecordedTurn],
    backend: Backend,
    options: Mapping[str, Any],
) -> tuple[Session, DiffRequest]:
    """Build the path of a recording, with its settings, over its contexts."""
    from workbench.checkpoints.load import load_pair
    from workbench.lockstep.engine.user_code import UserCode
    from workbench.lockstep.session.job import LockstepOptions
    from workbench.lockstep.session.request import Session, pair_directories, path_of
    from workbench.lockstep.session.turns import Turn

    models, stated = table(run.manifest, "models"), table(run.manifest, "options")
    proposer = str(models.get("proposer") or PROPOSERS[0])
    if proposer == AUTO:
        raise UsageError("the run chose its proposer by --proposer auto; locate takes runs of one proposer")
    if options["fused"] is None and run.manifest.get("engine") not in (None, "fused"):
        raise UsageError(
            f"the run is of {run.manifest.get('engine')}: give its path with --fused MODULE:FACTORY, or "
            "--no-rerun for what its digests alone tell"
        )
    settings = settings_of(run)
    asked = {**STAGED, **options, "proposer": proposer, "prompt_file": str(run.folder), "out": None}
    request = request_of(backend, asked)
    dtype = facts_of(run, name).dtype if options["dtype"] == AUTO else options["dtype"]
    seed, generator = stated.get("seed", 0), str(stated.get("generator", "philox"))
    again = LockstepOptions(settings=settings, seed=seed if isinstance(seed, int) else 0, generator=generator)
    request = replace(request, options=again, dtype=dtype, weights=weights_of(run))
    folders = [
        options[each] or _folder(models.get(key))
        for each, key in (("model", "teacher"), ("draft", "drafter"))
    ]
    loaded = load_pair(
        *pair_directories(folders[0], folders[1], proposer),
        proposer=proposer,
        trust_remote_code=request.trust_remote_code,
        weights=request.weights,
    )
    user_code = UserCode(request.stage_timeout)
    path = path_of(request, loaded.pair, settings, user_code)
    contexts = tuple(Turn(*key, _context(turn.context)) for key, turn in turns.items() if turn.context)
    return Session(loaded, path, contexts, dtype, user_code), request


def _context(token_ids: list[int]) -> Callable[[Sequence[int]], list[int]]:
    """Return a turn's context as it was recorded, whatever the turns before it emit now."""
    return lambda _: list(token_ids)


def _folder(recorded: object) -> str | None:
    """Return a checkpoint's folder as recorded; None for the shipped pair."""
    return None if recorded in (None, SHIPPED_NAME) else str(recorded)


def subject_of(session: Session, request: DiffRequest, path: DecodePath) -> Subject:
    """Return a path, ours or one with faults planted, with all of a session that it takes to decode."""
    from workbench.locate.scene import Subject
    from workbench.lockstep.judged_run import runner_of

    pair, settings = session.loaded.pair, request.options.settings
    return Subject(
        path=path,
        runner=runner_of(session, request, pair, settings, session.model_facts(settings)),
        pair=pair,
        turns=session.turns,
        options=request.options,
        dtype=session.dtype,
        user_code=session.user_code,
    )


def _as_json(symptom: Link | None, traced: TracedBack | None, history: CacheHistory | None) -> dict[str, Any]:
    changes = [] if history is None or symptom is None else history.changes_before(symptom.moment)
    return {
        "symptom": None if symptom is None else symptom.as_json(),
        "traced": None if traced is None else traced.as_json(),
        "digests": {
            "changes": [{"moment": str(each.at), "text": each.sentence} for each in changes],
            "not_known": "" if history is None else history.not_known,
        },
    }
