"""A case made ready: path under test, reference and turns over the models that are left; a run of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from invariants.context import RunContext
from reference.drafters import drafter_of
from tracing.errors import UsageError
from tracing.recorder import RunWriter
from workbench.judge.verdict import Tally
from workbench.locate.scene import Subject
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.judged_run import limits_of, requests_of
from workbench.lockstep.session.contexts import context_of, facts_of
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.staged.run import StagedRun, judge_turns
from workbench.lockstep.truth.reference_runner import ONE_ABOVE, ReferenceRunner
from workbench.npu.capability import as_here
from workbench.reduce.case import RunCase
from workbench.reduce.source import OpenedSource, rung_of


@contextmanager
def subject_of(opened: OpenedSource, case: RunCase, *, control: bool = False) -> Iterator[Subject]:
    """Enter with the path under test, built over what is left of the models.

    Args:
        opened: The models.
        case: What is left of them.
        control: Put our path without a fault in its place.

    Raises:
        SpecwbError: It cannot be built.
        ValueError: The cut leaves nothing that could be.
    """
    source, settings = opened.source, case.settings
    turns = tuple(
        Turn(0, number, lambda before, own=own: [*before, *own])  # type: ignore[misc]  # mypy reads defaults of a lambda as unknown
        for number, own in enumerate(opened.renumbered(case))
    )
    pair = opened.cut(case.cut)
    _require_room(pair, case)
    user_code = UserCode(source.stage_timeout)
    with ExitStack() as stack:
        stack.enter_context(as_here(source.npu_mode))
        path = stack.enter_context(opened.path(case, user_code, control=control))
        named = str(path.info.get("dtype", case.dtype)).removeprefix("torch.")
        dtype = named if named in ONE_ABOVE else "float32"
        runner = ReferenceRunner(
            pair,
            settings,
            path_dtype=dtype,
            rung=rung_of(source),
            device=source.reference_device,
            model_facts=facts_of(pair, path, settings),
        )
        options = LockstepOptions(
            settings=settings, repeat=case.repeat, seed=case.seed, generator=case.generator
        )
        yield Subject(path, runner, pair, turns, options, dtype, user_code)


def recorded(opened: OpenedSource, case: RunCase, subject: Subject, folder: Path) -> StagedRun:
    """Decode a case in staged lockstep and record it in a folder that is made.

    Raises:
        SpecwbError: The device or the disk.
    """
    options, runner, path = subject.options, subject.runner, subject.path
    sampling = {} if options.sampling is None else {"": options.sampling}
    context = replace(context_of(subject.pair, path, options.settings), request_sampling=sampling)
    tally = Tally(chain=runner.is_chain)
    manifest = {**_manifest(opened, subject, context), **requests_of(options)}
    with RunWriter(folder, manifest, token_bytes=token_bytes_of(opened, case)) as writer:
        staged = judge_turns(
            path,
            runner,
            subject.pair,
            options,
            subject.turns,
            writer=writer,
            context=context,
            tally=tally,
            dtype=subject.dtype,
            user_code=subject.user_code,
        )
        verdict = tally.verdict(staged.share(tally))
        writer.update(verdict=verdict.verdict, exit_code=verdict.exit_code, coverage=dict(verdict.coverage))
    return staged


def token_bytes_of(opened: OpenedSource, case: RunCase) -> Any:
    """Return what gives the bytes of a token in the numbers of a case's vocabulary."""
    return lambda token: opened.token_bytes(opened.original(case, [token])[0])


def _require_room(pair: Any, case: RunCase) -> None:
    """Refuse a case that is longer than the models.

    Raises:
        UsageError: It has no token, or too many.
    """
    if not case.turns or not all(case.turns):
        raise UsageError("each turn needs a token")
    deepest = case.settings.deepest(drafter_of(pair).settings)
    needed = case.num_tokens + len(case.turns) * case.settings.max_new_tokens + deepest
    most = pair.teacher.max_position_embeddings
    if needed > most:
        raise UsageError(f"it needs {needed} positions and the teacher has {most}")


def _manifest(opened: OpenedSource, subject: Subject, context: RunContext) -> dict[str, Any]:
    pair, path, settings = subject.pair, subject.path, subject.options.settings
    return {
        "lockstep": "staged",
        "engine": path.name,
        "argv": ["specwb", "reduce"],
        "models": {"proposer": pair.proposer},
        "settings": settings.as_read(drafter_of(pair).settings),
        "limits": limits_of(context),
        "model_facts": asdict(facts_of(pair, path, settings)),
        "reference": {"rung": opened.source.rung, "device": opened.source.reference_device},
    }
