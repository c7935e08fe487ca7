"""Replay with models: load them, compare them with those of the recording, judge, or continue decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracing.errors import TraceError, UsageError
from tracing.manifest_facts import table
from tracing.reader import Run
from tracing.run_facts import ModelFacts, model_facts_of
from tracing.settings import PROPOSERS
from workbench.cli.decode_options import AUTO
from workbench.cli.output import say
from workbench.cli.replay_options import SHIPPED, ReplayOptions
from workbench.cli.replay_summary import facts_of, path_under_test_of, settings_of, versions
from workbench.cli.summaries import show_summary
from workbench.judge.recorded.context import read_context
from workbench.judge.recorded.rejudge import Judge, StepRange
from workbench.judge.turn_state import recorded_turns

if TYPE_CHECKING:
    from workbench.checkpoints.load import LoadedPair
    from workbench.lockstep.replay.teacher import TeacherOnly


def with_models(run: Run, wanted: ReplayOptions) -> tuple[Judge, Mapping[str, Any]]:
    """Load models.

    Returns:
        The judge that asks the reference, and whether models and versions are those of the recording.

    Raises:
        SpecwbError: Anything that the user can mend: checkpoint, device, extra.
    """
    from workbench.npu.bootstrap import bootstrap

    bootstrap("auto")
    from workbench.checkpoints.load import needs_drafter
    from workbench.lockstep.replay.borders import ChunkBorders, chunked_lives
    from workbench.lockstep.replay.judge import ModelJudge
    from workbench.lockstep.truth.reference_runner import ReferenceRunner

    proposer = proposer_of(run, wanted)
    if proposer == AUTO:
        from workbench.cli.replay_auto import with_choices

        return with_choices(run, wanted)
    model, draft = _folders(wanted, proposer)
    options: dict[str, Any] = {"trust_remote_code": wanted.trust_remote_code, "weights": weights_of(run)}
    loaded = _load(model, draft, proposer, **options)
    has_drafter = draft is not None or not needs_drafter(proposer)
    settings = settings_of(run)
    runner = ReferenceRunner(
        loaded.pair,
        settings,
        path_dtype=facts_of(run, path_under_test_of(run, wanted.path_name)).dtype,
        rung=wanted.reference,
        device=wanted.reference_device,
        model_facts=ModelFacts.of_model(
            loaded.pair, model_facts_of(run.manifest), drafter_window=settings.window
        ),
    )
    context = read_context(run.manifest)
    judge = ModelJudge(
        runner,
        loaded.pair.eos_token_ids,
        has_drafter,
        context.max_positions,
        request_limits=context.request_limits,
        request_sampling=context.request_sampling,
        borders=ChunkBorders(chunked_lives(run, path_under_test_of(run, wanted.path_name))),
    )
    return judge, _facts(run, loaded, has_drafter=has_drafter)


def proposer_of(run: Run, wanted: ReplayOptions) -> str:
    """Return the kind of drafter: what was asked for, that of the recording, or `eagle3`."""
    return wanted.proposer or str(table(run.manifest, "models").get("proposer") or PROPOSERS[0])


def weights_of(run: Run) -> str:
    """Return how the teacher's weights of the recording were asked for."""
    return str(table(run.manifest, "models").get("weights") or "as-is")


def _folders(wanted: ReplayOptions, proposer: str) -> tuple[str, str | None]:
    """Return the folders of teacher and drafter; without a drafter, drafts are not judged."""
    from workbench.checkpoints.load import needs_drafter
    from workbench.checkpoints.shipped import shipped_pair_dirs

    model, draft = wanted.model, wanted.draft
    if wanted.continues:
        model = model or SHIPPED
    has_drafter = needs_drafter(proposer)
    if SHIPPED in {model, draft}:
        teacher_dir, draft_dir = map(str, shipped_pair_dirs(proposer if has_drafter else "eagle3"))
        model = teacher_dir if model in {SHIPPED, None} else model
        draft = draft_dir if draft in {SHIPPED, None} else draft
    if not has_drafter:
        draft = None
    if model is None:
        raise UsageError("--draft needs its teacher; give --model DIR too")
    return model, draft


def _load(model: str, draft: str | None, proposer: str, **options: Any) -> LoadedPair | TeacherOnly:
    from workbench.checkpoints.load import load_pair, needs_drafter

    if draft is None and needs_drafter(proposer):
        from workbench.lockstep.replay.teacher import load_teacher_only

        return load_teacher_only(model, **options)
    return load_pair(model, draft, proposer=proposer, **options)


def _facts(run: Run, loaded: LoadedPair | TeacherOnly, *, has_drafter: bool) -> dict[str, Any]:
    """Return whether models and versions are those of the recording, as plain data."""
    return {"models": matches(run, loaded.digests.as_json(), has_drafter), "versions": versions(run)}


def matches(run: Run, digests: Mapping[str, Any], has_drafter: bool) -> dict[str, Any]:
    """Compare digests with the manifest's: `True`, `False`, or `None` where the manifest has none."""
    recorded = table(table(run.manifest, "models"), "digests")
    names = ("teacher_weights", "drafter_weights") if has_drafter else ("teacher_weights",)
    return {name: None if recorded.get(name) is None else recorded[name] == digests[name] for name in names}


def fact_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return for a person whether models and versions are those of the recording."""
    words = {True: "those of the recording", False: "NOT those of the recording", None: "not known"}
    lines = [f"models      {name}: {words[same]}" for name, same in facts["models"].items()]
    for name, pair in facts["versions"].items():
        if pair["recorded"] != pair["now"]:
            lines.append(
                f"versions    {name} {pair['recorded']} when recorded, {pair['now'] or 'absent'} now"
            )
    return lines


def continue_run(run: Run, wanted: ReplayOptions) -> int:
    """Decode on from a recorded step in lockstep, as a run of its own.

    Raises:
        UsageError: No step is named, or the trace does not hold the tokens before it.
    """
    place = wanted.part.only
    if place is None:
        raise UsageError("--continue needs the step to continue from, e.g. --step 0:0:12")
    under_test = path_under_test_of(run, wanted.path_name)
    committed, root, remaining = _state_at(run, under_test, wanted.part)
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap("auto")
    from workbench.checkpoints.load import load_pair, needs_drafter
    from workbench.lockstep.replay.continuation import continued
    from workbench.lockstep.session.job import LockstepOptions
    from workbench.lockstep.session.request import DiffRequest

    proposer, settings = proposer_of(run, wanted), settings_of(run)
    if proposer == AUTO:
        from workbench.cli.replay_auto import chosen_at

        wanted, settings = chosen_at(run, wanted, place)
        proposer = proposer_of(run, wanted)
    model, draft = _folders(wanted, proposer)
    if draft is None and needs_drafter(proposer):
        raise UsageError("--continue decodes, so it needs a drafter; give --draft DIR too")
    options: dict[str, Any] = {"trust_remote_code": wanted.trust_remote_code, "weights": weights_of(run)}
    loaded = load_pair(model, draft, proposer=proposer, **options)
    label = f"{run.folder}@{':'.join(map(str, place))}"
    request = DiffRequest(
        prompt_file=label,
        out=wanted.out or run.folder.with_name(f"{run.folder.resolve().name}-continued"),
        options=LockstepOptions(settings=replace(settings, max_new_tokens=remaining)),
        backend=backend.as_json(),
        dtype=facts_of(run, under_test).dtype,
        rung=wanted.reference,
        reference_device=wanted.reference_device,
    )
    summary = continued(loaded, request, committed, place)
    for line in fact_lines(_facts(run, loaded, has_drafter=True)):
        say(line, err=True)
    first = summary.emitted_token_ids[0][0] if summary.emitted_token_ids else None
    if first != root:
        say(f"the recorded root is {root}, prefill of the same ids gives {first}", err=True)
    show_summary(summary, wanted.output_format, continued_from=label, recorded_root=root)
    return summary.exit_code


def _state_at(run: Run, under_test: str, part: StepRange) -> tuple[list[int], int, int]:
    """Return committed tokens, root and tokens left before a step."""
    assert part.only is not None
    context = read_context(run.manifest)
    limits = context.max_new_tokens, context.request_limits
    for row, state in recorded_turns(run.path(under_test), *limits):
        if part.holds(state.moment.place):
            if not state.has_length(row.get("committed_len")):
                raise TraceError(f"the tokens before {':'.join(map(str, part.only))} are not in the trace")
            remaining = state.remaining + 1 if state.is_bounded else settings_of(run).max_new_tokens
            return state.committed, state.root, remaining
    raise UsageError(f"{run.folder} has no step {':'.join(map(str, part.only))} on path {under_test}")
