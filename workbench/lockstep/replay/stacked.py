"""The reference on recorded steps, those of a turn several at once: what each asks is known beforehand.

Every step sees what it would see alone, so stacking decides nothing. What cannot be run together, or is asked
of more models than the truth and the first sample, is run one step after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reference.model import ReferenceModels
from reference.search import DraftContext
from reference.teacher import TeacherRows
from tracing.errors import UsageError
from tracing.stages import Drafted, Tensorized
from workbench.judge.recorded.upcoming import Upcoming
from workbench.judge.turn_state import TurnState
from workbench.lockstep.replay.draft import ScoredDraft, drafted_of, expand_nodes, score_nodes
from workbench.lockstep.truth.chosen_experts import worked
from workbench.lockstep.truth.reference_runner import ReferenceRunner

NODES_AT_ONCE: Final = 128
"""Nodes of one forward: beyond a hundred a product is hardly faster, and attention pays for each pair."""
BYTES_AHEAD: Final = 1 << 27
"""Logits that are held at most, of steps that were run and not yet judged."""
BYTES_OF_LOGIT: Final = 12
"""One of the truth in float64 and one of a sample in float32."""
Place = tuple[int, int, int]
Models = Sequence[ReferenceModels]


@dataclass(frozen=True, slots=True)
class AskedStep:
    """What one step asks of the reference.

    Attributes:
        place: Prompt, turn, step.
        committed: Token ids before it.
        root: The token after them.
        tree: The recorded one.
    """

    place: Place
    committed: tuple[int, ...]
    root: int
    tree: Tensorized

    @classmethod
    def of(cls, step: Upcoming) -> AskedStep | None:
        """Return what a step asks; None where it asks nothing."""
        evidence, state = step.evidence, step.state
        if evidence is None or evidence.tensorize is None or evidence.verify is None:
            return None
        if not state.has_length(step.row.get("committed_len")) or not state.committed:
            return None
        tree = evidence.tensorize.fused
        return None if tree is None else cls(state.moment.place, tuple(state.committed), state.root, tree)

    def goes_on_in(self, other: AskedStep) -> bool:
        """Whether a later step has this one's tokens and root before it."""
        length = len(self.committed)
        return other.committed[: length + 1] == (*self.committed, self.root)


@dataclass(slots=True)
class _Stack:
    """Steps that ran together.

    Attributes:
        steps: In order.
        nodes: Rows of each step's nodes, by each model.
        scored: Each step's draft by each model; empty while nobody asked.
    """

    steps: Sequence[AskedStep]
    nodes: Mapping[Place, tuple[TeacherRows, ...]]
    scored: dict[Place, tuple[ScoredDraft | None, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Kept:
    """What was computed for the step in progress, by each model: what one near tie asked serves the next.

    Attributes:
        prefill, nodes, scored: Rows of the prompt, of the nodes, and the draft's.
    """

    prefill: tuple[TeacherRows, ...] = ()
    nodes: tuple[TeacherRows, ...] = ()
    scored: tuple[ScoredDraft | None, ...] = ()


class StackedReference:
    """Runs the reference on recorded steps.

    Attributes:
        runner: The reference.
    """

    def __init__(self, runner: ReferenceRunner) -> None:
        self.runner = runner
        self._kept = _Kept()
        self._waiting: dict[tuple[int, int], list[AskedStep]] = {}
        self._stacks: dict[Place, _Stack] = {}

    @property
    def nodes_ahead(self) -> int:
        """Nodes of the steps that it is good to know of at a time."""
        row_bytes = self.runner.truth.teacher.vocab_size * BYTES_OF_LOGIT
        return max(min(BYTES_AHEAD // row_bytes, 16 * NODES_AT_ONCE), 1)

    def expect(self, steps: Sequence[Upcoming]) -> None:
        """Take note of the steps that come next; those of before are forgotten."""
        self._waiting, self._stacks = {}, {}
        for asked in map(AskedStep.of, steps) if self.runner.stacks else ():
            if asked is not None:
                self._waiting.setdefault(asked.place[:2], []).append(asked)

    def prefill(self, state: TurnState, models: Models) -> tuple[TeacherRows, ...]:
        """Return the rows of a turn's prompt by each model."""
        known = self._kept.prefill
        more = self.runner.prefill(state.committed, models[len(known) :], chosen=worked(known))
        self._kept.prefill = (*known, *more)
        return self._kept.prefill

    def verify(self, state: TurnState, tree: Tensorized, models: Models) -> tuple[TeacherRows, ...]:
        """Return the rows of a step's nodes by each model."""
        stack, kept = self._stack_of(state.moment.place), self._kept
        known = kept.nodes or (() if stack is None else stack.nodes[state.moment.place])
        more = self.runner.verify(state.committed, tree, models[len(known) :], chosen=worked(known))
        kept.nodes = (*known, *more)
        return kept.nodes

    def scored(self, state: TurnState, tree: Tensorized, models: Models) -> tuple[ScoredDraft | None, ...]:
        """Return a step's draft scored by each model."""
        stack, place = self._stack_of(state.moment.place), state.moment.place
        if stack is not None and not stack.scored:
            stack.scored = self._scored(stack.steps)
        known = () if stack is None else stack.scored.get(place, ())
        if self.runner.experts is None:  # else all features are made together, with the experts of the first
            known = self._kept.scored or known
        more = models[len(known) :]
        made = self.scored_after(state.committed, state, tree, more) if more else ()
        self._kept.scored = (*known, *made)
        return self._kept.scored

    def scored_after(
        self, tokens: Sequence[int], state: TurnState, tree: Tensorized, models: Models
    ) -> tuple[ScoredDraft | None, ...]:
        """Return a step's draft scored by each model, had the drafter been given other committed tokens.

        Features stay those of the committed tokens.
        """
        features = self.runner.features(state.committed, models)
        contexts = [DraftContext(tokens, state.root, each) for each in features]
        return tuple(
            score_nodes(self.runner, each, context, drafted_of(tree))
            for each, context in zip(models, contexts, strict=True)
        )

    def done_with(self, place: Place) -> None:
        """Forget what was computed for a step."""
        self._stacks.pop(place, None)
        self._kept = _Kept()

    def _stack_of(self, place: Place) -> _Stack | None:
        """Return the stack of a step, which is run with those after it where there are; None if alone."""
        if place not in self._stacks:
            waiting = self._waiting.get(place[:2], [])
            start = next((number for number, each in enumerate(waiting) if each.place == place), None)
            steps = () if start is None else _run_together(waiting[start:])
            stack = self._run(steps) if len(steps) > 1 else None
            self._stacks |= {} if stack is None else {each.place: stack for each in steps}
            if start is not None:
                self._waiting[place[:2]] = waiting[start + len(steps) :]
        return self._stacks.get(place)

    def _run(self, steps: Sequence[AskedStep]) -> _Stack | None:
        trees = [(len(each.committed), each.tree) for each in steps]
        try:
            every = self.runner.verify_stacked(steps[-1].committed, trees)
        except UsageError:  # an id out of range: said of the step that has it
            return None
        rows = [each for each in every if each is not None]
        if len(rows) < len(every):
            return None
        return _Stack(
            steps, {each.place: of for each, of in zip(steps, zip(*rows, strict=True), strict=True)}
        )

    def _scored(self, steps: Sequence[AskedStep]) -> dict[Place, tuple[ScoredDraft | None, ...]]:
        """Score the drafts of several steps at once; empty where the drafter cannot."""
        runner, last = self.runner, steps[-1]
        drafts: list[Drafted] = [drafted_of(each.tree) for each in steps]
        every: list[list[ScoredDraft]] = []
        for models, features in zip(
            runner.models, runner.features(last.committed, runner.models), strict=True
        ):
            search = runner.stages.rung.search(models)
            if search is None or search.begin_at is None:
                return {}
            context = DraftContext(last.committed, last.root, features)
            lengths = [len(each.committed) for each in steps]
            rows = search.begin_at(models, context, lengths, runner.settings)
            every.append(expand_nodes(rows, search.expand, drafts))
        return {each.place: of for each, of in zip(steps, zip(*every, strict=True), strict=True)}


def _run_together(waiting: Sequence[AskedStep]) -> Sequence[AskedStep]:
    """Return the first steps that go on from each other and are not too many nodes."""
    num_nodes, number = 0, 0
    for number, each in enumerate(waiting):
        num_nodes += len(each.tree.token_ids)
        if number and (num_nodes > NODES_AT_ONCE or not waiting[number - 1].goes_on_in(each)):
            return waiting[:number]
    return waiting
