"""Small mistakes that hide in the rounding of a half precision: measured over all rows of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final

import numpy as np

from reference.drafters import drafter_of
from tracing.stages import Tensorized
from workbench.judge.evidence import DraftEvidence, StepEvidence
from workbench.judge.explain_scores import ScoredSearch
from workbench.judge.notes import Notes, StageJudgement
from workbench.judge.paired import LAW_LEANS, LEANS, Paired
from workbench.judge.row_truth import RowTruth
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.draft_what_if import BEAMS, Changed, FedDraft, begun, fed_otherwise, followed
from workbench.lockstep.truth.reference_runner import ReferenceRunner

HALF: Final = ("bfloat16", "float16")
WARMER: Final = 0.9
"""The temperature of a law that is a little too sharp; less sure ones lean the other way."""
LAW: Final = "at temperature"
MAX_STEPS: Final = 32
"""Steps of a run that are measured: evidence comes early or not at all, and each costs some forwards. A
mistake that the steps left could no longer show is not measured any further."""
LARGE_MODEL: Final = 100_000_000
"""Parameters of a teacher from which on only every `OF_LARGE`-th clean step is measured: one such step takes
as long as seven others (a random teacher of 190 million, bfloat16, trees of 60 nodes)."""
OF_LARGE: Final = 16
SAMPLES: Final = 3
"""Samples whose errors are set against the path's."""
LARGE: Final = "the taps"
"""Mistakes that no rounding hides."""
MEASURED: Final = {"draft": ("the scores of candidates", "draft_logprobs"), "verify": ("logits", "logits")}
"""Stage to what is measured there: in words, and its column."""
POSITIONS: Final = (("one position further on", 1), ("one position further back", -1))


@dataclass(slots=True)
class Leanings:
    """Measures every judged step of a run, until a mistake is found.

    Attributes:
        runner: The reference.
        dtype: Of the path under test.
        draft, verify: What was measured.
        seen: Clean steps so far.
        steps: Steps measured.
        is_over: A mistake was found, or none can be any more.
        every: Every so many clean steps one is measured.
    """

    runner: ReferenceRunner
    dtype: str
    draft: Paired = field(default_factory=Paired)
    verify: Paired = field(default_factory=Paired)
    seen: int = 0
    steps: int = 0
    is_over: bool = False
    every: int = field(init=False)
    _draft_ids: dict[int, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        """Count the teacher's parameters, and turn the map of draft ids around."""
        targets = self.runner.target_from_draft.tolist()
        self._draft_ids = {target: [number] for number, target in enumerate(targets)}
        num_parameters = sum(weight.numel() for weight in self.runner.truth.teacher_weights.values())
        self.every = OF_LARGE if num_parameters >= LARGE_MODEL else 1

    @property
    def is_open(self) -> bool:
        """Whether the next clean step is measured; it needs `SAMPLES` samples."""
        is_due = self.seen % self.every == 0
        return is_due and self.dtype in HALF and not self.is_over and self.steps < MAX_STEPS

    def after(
        self, evidence: StepEvidence, turn_state: FedTurnState, tensorized: Tensorized | None
    ) -> StageJudgement:
        """Measure one clean step; return the mistake that all steps so far show, if they do."""
        is_open = self.is_open
        self.seen += 1
        if not is_open:
            return StageJudgement()
        self.steps += 1
        if evidence.draft is not None:
            self._measure_draft(evidence.draft, turn_state)
        if evidence.verify is not None and evidence.verify.logits is not None and tensorized is not None:
            self._measure_verify(evidence.verify.logits, turn_state, tensorized)
        for stage, (what, column) in MEASURED.items():
            made = getattr(self, stage).made()
            if made is not None:
                self.is_over = True
                notes = Notes(evidence.moment, stage, self.dtype)
                notes.finding("JUDGE-LEANING", column, made.sentence(what, self.dtype), gap=made.gap)
                return notes.judgement()
        measured = [(each, clause) for each in (self.draft, self.verify) for clause in each.by_clause]
        self.is_over = bool(measured) and not any(
            each.is_open(clause, self._groups_left) for each, clause in measured
        )
        return StageJudgement()

    @property
    def _groups_left(self) -> int:
        """Groups that the steps left can have at most, this one included: one a level, or a depth."""
        return (MAX_STEPS - self.steps + 1) * (self.runner.settings.depth + 2)

    def as_json(self) -> dict[str, Any]:
        """Return what was measured, as plain data; nothing where nothing was."""
        stages = {"draft": self.draft, "verify": self.verify}
        return {stage: each.as_json() for stage, each in stages.items() if each.by_clause}

    def _measure_draft(self, draft: DraftEvidence, turn_state: FedTurnState) -> None:
        search = None if draft.fused is None else draft.fused.beam_search()
        if search is None or not draft.levels or len(draft.levels) != len(search.levels):
            return
        truth = tuple(level.truth for level in draft.levels)
        along = ScoredSearch(tuple(search.levels), truth, self._draft_ids)
        own = along.own(along.rows)
        errors = [mine - true for mine, true in zip(along.added(), own, strict=True)]
        samples = [
            [one - true for one, true in zip(along.own(rows), own, strict=True)]
            for rows in zip(*(level.samples for level in draft.levels), strict=False)
        ]
        for clause, other_rows in self._other_levels(draft, turn_state, search.levels):
            if not self.draft.is_open(clause, self._groups_left):
                continue
            rows = other_rows()
            if any(other.shape != row.shape for other, row in zip(rows, along.rows, strict=True)):
                continue
            for level, (other, true) in enumerate(zip(along.own(rows), own, strict=True)):
                seen = [each[level] for each in samples]
                self.draft.add(clause, errors[level], seen, other - true, leans_of(clause))

    def _other_levels(
        self, draft: DraftEvidence, turn_state: FedTurnState, levels: Any
    ) -> Iterator[tuple[str, Callable[[], tuple[Any, ...]]]]:
        truth = [np.asarray(level.truth, np.float64) for level in draft.levels]
        yield f"the law {LAW} {WARMER}", lambda: tuple(log_softmax(rows / WARMER) for rows in truth)
        yield f"the law {LAW} {1 / WARMER:.2f}", lambda: tuple(log_softmax(rows * WARMER) for rows in truth)
        tokens, root, features = turn_state.fed
        if drafter_of(self.runner.truth.pair).searches and features is not None:
            given = (tuple(map(int, tokens)), int(root), features)
            fed = FedDraft(self.runner.truth, self.runner.settings, *given)
            if fed.is_eagle3:
                for clause, other in fed_otherwise(fed):
                    if LARGE not in clause:
                        yield clause, partial(followed, other, levels)
                first = cache(partial(begun, fed))
                for clause, changed in BEAMS:
                    yield (
                        f"its value when the beams {clause}",
                        partial(_changed, fed, levels, changed, first),
                    )

    def _measure_verify(self, logits: RowTruth, turn_state: FedTurnState, tree: Tensorized) -> None:
        """Logits are compared up to a constant a row: what is added to all of them changes nothing."""
        if logits.fused is None or logits.truth is None or logits.rows is None:
            return
        truth = centred(logits.truth)
        error, samples = centred(logits.fused) - truth, [centred(each) - truth for each in logits.samples]
        depths = np.asarray(tree.depths)[logits.rows]
        for clause, other_rows in self._other_logits(truth, logits.rows, turn_state, tree):
            if not self.verify.is_open(clause, self._groups_left):
                continue
            other = other_rows()
            for depth in np.unique(depths):
                here = depths == depth
                seen, added = [each[here] for each in samples], (other - truth)[here]
                self.verify.add(clause, error[here], seen, added, leans_of(clause))

    def _other_logits(
        self, truth: Any, nodes: Any, turn_state: FedTurnState, tree: Tensorized
    ) -> Iterator[tuple[str, Callable[[], Any]]]:
        yield f"the logits {LAW} {WARMER}", lambda: truth / WARMER
        yield f"the logits {LAW} {1 / WARMER:.2f}", lambda: truth * WARMER
        positions = np.asarray(tree.position_ids)

        def at(moved: Any) -> Any:
            given = (turn_state.committed, tree.token_ids, moved, tree.visible)
            return centred(
                host_floats(self.runner.stages.rung.verify(self.runner.truth, *given).logits)[nodes]
            )

        for clause, shift in POSITIONS:
            moved = positions + shift * np.asarray(tree.valid)
            if moved.min() >= 0:
                yield f"their values {clause}", partial(at, moved)


def _changed(fed: FedDraft, levels: Any, changed: Changed, first: Callable[[], Any]) -> tuple[Any, ...]:
    return followed(fed, levels, changed, first())


def leans_of(clause: str) -> tuple[float, float]:
    """Return between which leans a mistake is named."""
    return LAW_LEANS if LAW in clause else LEANS


def centred(rows: Any) -> Any:
    """Return rows less their means, float64."""
    wide = np.asarray(rows, np.float64)
    return wide - wide.mean(axis=-1, keepdims=True)


def log_softmax(rows: Any) -> Any:
    """Return log-probabilities of rows of logits, float64."""
    top = rows.max(axis=-1, keepdims=True)
    return rows - top - np.log(np.exp(rows - top).sum(axis=-1, keepdims=True))
