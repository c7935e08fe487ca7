"""Replay with models of a run that chose for each turn who drafts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracing.errors import TraceError, UsageError
from tracing.manifest_facts import table
from tracing.reader import Run
from tracing.run_facts import ModelFacts, model_facts_of
from tracing.settings import DecodeSettings
from workbench.cli.decode_options import parse_kinds
from workbench.cli.replay_options import SHIPPED, ReplayOptions
from workbench.cli.replay_summary import facts_of, path_under_test_of, versions
from workbench.judge.recorded.rejudge import Judge

if TYPE_CHECKING:
    from workbench.checkpoints.load import LoadedPair
    from workbench.lockstep.replay.choices import RecordedChoice
    from workbench.lockstep.replay.judge import ModelJudge


def with_choices(run: Run, wanted: ReplayOptions) -> tuple[Judge, Mapping[str, Any]]:
    """Return the judge that asks each turn's own reference, and whether models are those of the recording.

    Raises:
        SpecwbError: Anything that the user can mend.
    """
    from workbench.checkpoints.load import needs_drafter
    from workbench.lockstep.choice.policy import MAIN
    from workbench.lockstep.replay.choices import ChoiceJudge, recorded_choices
    from workbench.lockstep.replay.judge import ModelJudge
    from workbench.lockstep.truth.reference_runner import ReferenceRunner

    choices = recorded_choices(run.manifest)
    used = {each.name: each for each in choices.values() if each.teacher == MAIN}
    pairs = _loaded(used, wanted)
    dtype = facts_of(run, path_under_test_of(run, wanted.path_name)).dtype

    def make(choice: RecordedChoice) -> ModelJudge:
        pair = pairs[choice.name].pair
        facts = ModelFacts.of_model(pair, model_facts_of(run.manifest), drafter_window=choice.settings.window)
        runner = ReferenceRunner(
            pair,
            choice.settings,
            path_dtype=dtype,
            rung=wanted.reference,
            device=wanted.reference_device,
            model_facts=facts,
        )
        has_drafter = bool(pair.drafter_weights) or not needs_drafter(choice.proposer)
        return ModelJudge(runner, pair.eos_token_ids, has_drafter)

    return ChoiceJudge(choices, make), {"models": _matches(run, pairs), "versions": versions(run)}


def _loaded(used: Mapping[str, RecordedChoice], wanted: ReplayOptions) -> dict[str, LoadedPair]:
    """Load the teacher once and each drafter; a drafter that nobody gave is refused with its kind."""
    from workbench.checkpoints.load import pair_with
    from workbench.checkpoints.loaded_teacher import load_teacher
    from workbench.checkpoints.shipped import shipped_pair_dirs
    from workbench.lockstep.choice.policy import PolicyChoice
    from workbench.lockstep.session.contenders import LeftOutError, PolicyModels

    if wanted.model is None:
        raise UsageError("--draft needs its teacher; give --model DIR too")
    directory = None if wanted.model == SHIPPED else wanted.model
    models = PolicyModels(model=directory, drafts=parse_kinds(wanted.draft))
    path = Path(directory or shipped_pair_dirs()[0])
    teacher = load_teacher(path, trust_remote_code=wanted.trust_remote_code)
    pairs: dict[tuple[str, Path | None], LoadedPair] = {}
    found: dict[str, LoadedPair] = {}
    for name, choice in used.items():
        try:
            draft = models.drafter(PolicyChoice(name, choice.proposer))
        except LeftOutError as problem:
            raise UsageError(
                f"turns of this run were drafted by {name}: {problem}; give it by --draft"
            ) from None
        key = (choice.proposer, draft)
        if key not in pairs:
            pairs[key] = pair_with(teacher, path, draft, choice.proposer)
        found[name] = pairs[key]
    return found


def _matches(run: Run, pairs: Mapping[str, LoadedPair]) -> dict[str, Any]:
    """Compare digests with those of each choice: `True`, `False`, or `None` where none are recorded."""
    held = table(table(run.manifest, "choices"), "models")
    same: dict[str, Any] = {}
    for name, pair in pairs.items():
        recorded, now = table(table(held, name), "digests"), pair.digests.as_json()
        for part in ("teacher_weights", "drafter_weights"):
            same[f"{name} {part}"] = None if recorded.get(part) is None else recorded[part] == now[part]
    return same


def chosen_at(
    run: Run, wanted: ReplayOptions, place: tuple[int, int, int]
) -> tuple[ReplayOptions, DecodeSettings]:
    """Return the options and settings to continue a turn with what was chosen for it.

    Raises:
        TraceError: What was chosen is not recorded.
        UsageError: It was another teacher, or nobody gave its drafter.
    """
    from workbench.lockstep.choice.policy import MAIN
    from workbench.lockstep.replay.choices import recorded_choices

    choice = recorded_choices(run.manifest).get(place[:2])
    if choice is None:
        raise TraceError(f"{run.folder} does not say what was chosen for turn {place[0]}:{place[1]}")
    if choice.teacher != MAIN:
        raise UsageError(
            f"turn {place[0]}:{place[1]} was decoded by teacher {choice.teacher!r}; give --proposer"
        )
    draft = parse_kinds(wanted.draft).get(choice.proposer) if wanted.draft != SHIPPED else SHIPPED
    return replace(wanted, proposer=choice.proposer, draft=draft), choice.settings
