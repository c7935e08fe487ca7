"""Runs that chose for each turn who drafts: what was chosen, and the judge that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tracing.errors import SpecwbError, TraceError
from tracing.manifest_facts import table
from tracing.settings import PROPOSERS, DecodeSettings
from workbench.judge.evidence import StepEvidence
from workbench.judge.recorded.upcoming import Upcoming
from workbench.judge.step import StepJudgement, judge_step
from workbench.judge.turn_state import TurnState
from workbench.lockstep.choice.policy import MAIN
from workbench.lockstep.replay.judge import ModelJudge, Row, without_reference

TurnKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RecordedChoice:
    """What one turn was decoded with.

    Attributes:
        name: Of the choice in its policy.
        proposer: Kind of drafter.
        teacher: `main`, or the policy's name of another one.
        settings: Of the turn.
    """

    name: str
    proposer: str
    teacher: str
    settings: DecodeSettings


def recorded_choices(manifest: Mapping[str, Any]) -> dict[TurnKey, RecordedChoice]:
    """Return the choice of each turn, by prompt and turn; empty for a run that did not choose.

    Raises:
        TraceError: The manifest states choices and they are of another kind.
    """
    held = table(manifest, "choices")
    settings, proposers, teachers = (table(held, name) for name in ("settings", "proposers", "teachers"))
    found: dict[TurnKey, RecordedChoice] = {}
    try:
        for each in held.get("requests", []):
            name, key = str(each["choice"]), (each["prompt_id"], each["turn"])
            if not all(type(number) is int for number in key) or proposers[name] not in PROPOSERS:
                raise TypeError(name)
            found[key] = RecordedChoice(name, proposers[name], str(teachers[name]), _settings(settings[name]))
    except (KeyError, TypeError, SpecwbError) as problem:
        what = f"{type(problem).__name__} {problem}"
        raise TraceError(f"choices of the manifest cannot be read: {what}") from None
    return found


def _settings(held: Mapping[str, Any]) -> DecodeSettings:
    defaults = DecodeSettings()
    known = {field.name: held[field.name] for field in fields(DecodeSettings) if field.name in held}
    for name, value in known.items():
        if type(value) is not type(getattr(defaults, name)):
            raise TypeError(name)
    return DecodeSettings(**known)


class ChoiceJudge:
    """Judges each recorded step with the models and settings of its turn.

    Args:
        choices: By prompt and turn.
        make: Makes the judge of a choice; called again when it comes back after another.
    """

    def __init__(
        self, choices: Mapping[TurnKey, RecordedChoice], make: Callable[[RecordedChoice], ModelJudge]
    ) -> None:
        self._choices = choices
        self._make = make
        self._made: tuple[RecordedChoice, ModelJudge] | None = None
        self._upcoming: Sequence[Upcoming] = ()

    @property
    def nodes_ahead(self) -> int:
        """Nodes of the steps that it wants to know of at a time."""
        return 1 if self._made is None else self._made[1].nodes_ahead

    def expect(self, steps: Sequence[Upcoming]) -> None:
        """Take note of the steps that come next."""
        self._upcoming = steps
        if self._made is not None:
            self._tell(*self._made)

    def _tell(self, choice: RecordedChoice, judge: ModelJudge) -> None:
        turns = self._choices
        judge.expect(
            [step for step in self._upcoming if turns.get((step.state.prompt_id, step.state.turn)) == choice]
        )

    def __call__(
        self, evidence: StepEvidence, row: Row, previous: Row | None, state: TurnState
    ) -> StepJudgement:
        """Judge one step; one whose choice or teacher is not at hand is judged without the reference."""
        choice = self._choices.get((state.prompt_id, state.turn))
        if choice is None or choice.teacher != MAIN:
            why = "what was chosen for its turn is not recorded"
            if choice is not None:
                why = f"teacher {choice.teacher!r} of its turn is not the one that was given"
            return without_reference(judge_step(replace(evidence, prefill=None)), why)
        if self._made is None or self._made[0] != choice:
            self._made = choice, self._make(choice)
            self._tell(*self._made)
        return self._made[1](evidence, row, previous, state)
