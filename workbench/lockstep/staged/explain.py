"""Says of the first wrong value which standard mistake gives it, where one does; only after a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any, Final

import numpy as np

from tracing.finding import Finding
from tracing.stages import Tensorized
from workbench.judge.cause_order import cause_key
from workbench.judge.draft_nodes import DraftNodes
from workbench.judge.evidence import DraftEvidence, NodeTruth, StepEvidence
from workbench.judge.explain import Hypothesis, Wrong, closest, first_changed, narrowed
from workbench.judge.explain_nodes import node_hypotheses, node_scores
from workbench.judge.explain_scores import ScoredSearch, score_hypotheses
from workbench.judge.measured import GroupRows, as_groups, measure
from workbench.judge.row_truth import RowTruth
from workbench.judge.step import StepJudgement
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.staged.routing import quantity_of, values_of
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.draft_what_if import FedDraft, kv_otherwise, levels_otherwise, target_maps
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.lockstep.truth.verify_what_if import FedTree, prefill_otherwise, rows_otherwise

SCORES: Final = frozenset({"JUDGE-DRAFT-SCORES", "JUDGE-DRAFT-VOCAB", "JUDGE-DRAFT-CANDIDATES"})
ROWS: Final = frozenset({"kv", "features", "logits", "router_logits"})
CHOICES: Final = frozenset({"JUDGE-VERIFY-ARGMAX", "JUDGE-VERIFY-CHOICE"})
TAPS: Final = 3
KV_AXES: Final = 5
SAME: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Explainer:
    """Looks for a standard mistake behind the first error of a step.

    Attributes:
        runner: The reference.
        turn_state: The turn, as it is before the step.
        results: What the path gave.
        evidence: What was judged.
        before: Results of the steps before, the last one last; none after a prefill.
    """

    runner: ReferenceRunner
    turn_state: FedTurnState
    results: StepResults
    evidence: StepEvidence
    before: Sequence[StepResults] = ()

    def at(self, judgement: StepJudgement) -> StepJudgement:
        """Return the judgement with the first error explained, where that can be done."""
        errors = [finding for finding in judgement.findings if finding.severity == "error"]
        first = min(errors, key=cause_key, default=None)
        if first is None or first.explanation or first.verdict == "nondeterministic":
            return judgement
        try:
            clause = self._clause(first)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
            return judgement  # values that cannot even be compared are explained by their own finding
        if not clause:
            return judgement
        explained = replace(first, explanation=f"it is {clause}")
        findings = tuple(explained if finding is first else finding for finding in judgement.findings)
        return replace(judgement, findings=findings)

    def _clause(self, first: Finding) -> str:
        if first.rule in SCORES:
            return self._scores()
        if first.rule in CHOICES and first.moment.stage == "verify":
            return self._choices()
        if first.column not in ROWS or first.rule == "JUDGE-ROW-MOVED":
            return ""
        if first.moment.stage == "draft":
            return self._drafter_kv()
        return self._teacher_rows(first)

    def _choices(self) -> str:
        """Whose choices these are, told by all nodes together."""
        verified, tensorized = self.results.verified, self.results.tensorized
        if verified is None or tensorized is None:
            return ""
        valid = np.flatnonzero(tensorized.valid)
        best = host_floats(verified.logits).argmax(-1)
        ours, stale = np.asarray(verified.target_token_ids), self.before[-1].verified if self.before else None
        tried = [("before", np.roll(best, 1)), ("behind", np.roll(best, -1))]
        for clause, other in tried:
            if np.count_nonzero(ours[valid] != other[valid]) <= 1:
                return f"the choice after the node {clause} it: choices are shifted by one row"
        if stale is not None and np.array_equal(ours, stale.target_token_ids):
            return "the choice of the step before"
        return ""

    def _fed(self) -> FedDraft | None:
        tokens, root, features = self.turn_state.fed
        if features is None:
            return None
        given = (self.runner.truth, self.runner.settings, tuple(map(int, tokens)), int(root), features)
        fed = FedDraft(*given, handed_on=tuple(_handed_on(self.before)))
        return fed if fed.is_eagle3 else None

    def _scores(self) -> str:
        draft, fed = self.evidence.draft, self._fed()
        search = None if draft is None or draft.fused is None else draft.fused.beam_search()
        if draft is not None and draft.nodes is not None:
            return self._node_scores(draft, draft.nodes)
        if draft is None or fed is None or search is None or not draft.levels:
            return ""
        rows = tuple(level.truth for level in draft.levels)
        ids = {int(target): [number] for number, target in enumerate(self.runner.target_from_draft)}
        along = ScoredSearch(tuple(search.levels), rows, ids)
        hypotheses = score_hypotheses(along, levels_otherwise(fed, search.levels), target_maps(fed))
        wrong = along.wrong(draft.levels, self.evidence.dtype)
        named = closest(wrong, hypotheses)
        if named is None:
            return ""
        nodes = np.asarray(search.flat_ids, dtype=np.int64)
        first = first_changed(named.values[nodes], wrong.truth[nodes], wrong.value[nodes])
        return named.clause + ("" if first is None else _from(first + 1))

    def _node_scores(self, draft: DraftEvidence, truth: NodeTruth) -> str:
        """The scores of a draft that shows no search."""
        fused = draft.fused
        if fused is None or fused.logprobs is None:
            return ""
        target_from_draft = np.asarray(self.runner.target_from_draft)
        nodes = DraftNodes.of(np.asarray(fused.token_ids), np.asarray(fused.parents), target_from_draft)
        wrong = node_scores(nodes, np.asarray(fused.logprobs), truth, self.evidence.dtype)
        named = closest(wrong, node_hypotheses(nodes, wrong, truth))
        if named is None:
            return ""
        first = first_changed(named.values, wrong.truth, wrong.value)
        return named.clause + ("" if first is None else _from(first + 1))

    def _drafter_kv(self) -> str:
        draft, fed = self.evidence.draft, self._fed()
        if draft is None or fed is None or draft.kv is None:
            return ""
        return self._rows(draft.kv, kv_otherwise(fed), spared=1)

    def _teacher_rows(self, first: Finding) -> str:
        is_prefill = first.moment.stage == "prefill"
        part = self.evidence.prefill if is_prefill else self.evidence.verify
        if part is None or (quantity := quantity_of(part, first.column)) is None:
            return ""
        return self._rows(quantity, self._quantities(first, quantity))

    def _quantities(self, first: Finding, quantity: RowTruth) -> Iterator[tuple[str, Any]]:
        if first.moment.stage == "prefill":
            assert self.evidence.prefill is not None
            prompt = self.evidence.prefill.prompt_token_ids.tolist()
            made = prefill_otherwise(self.runner.truth, prompt)
            nodes: Any = None
        elif self.results.tensorized is not None and first.moment.node is not None:
            fed = FedTree(
                self.runner, self.turn_state.committed, self.results.tensorized, self._tree_before()
            )
            made, nodes = (
                rows_otherwise(fed, first.moment.node),
                np.flatnonzero(self.results.tensorized.valid),
            )
        else:
            return
        for clause, rows in made:
            values, axis = values_of(rows, first.column)
            if first.column == "router_logits" and self.results.tensorized is not None:
                values = values[:, -len(self.results.tensorized.valid) :]  # committed rows come first
            yield clause, values if nodes is None else np.take(values, nodes, axis)
        yield from _of_itself(first.column, quantity)

    def _tree_before(self) -> Tensorized | None:
        return self.before[-1].tensorized if self.before else None

    def _rows(self, quantity: RowTruth, made: Iterator[tuple[str, Any]], spared: int = 0) -> str:
        """Explain rows that are wrong; those that are right need not fit."""
        if quantity.fused is None or quantity.truth is None or not quantity.samples:
            return ""
        groups = _groups(quantity, self.evidence.dtype)
        failed = [group.failed for group in groups]
        wrong_groups = [number for number, rows in enumerate(failed) if rows.any()]
        if not wrong_groups:
            return ""
        tried = [each for each in made if _alike(each[1], quantity)]
        named = self._fitting(quantity, groups, tried, spared)
        if named is None and len(wrong_groups) > 1:  # later layers are wrong because the first one is
            first = [group if n == wrong_groups[0] else None for n, group in enumerate(groups)]
            named = self._fitting(quantity, first, tried, spared)
        if named is None:
            return ""
        return named.clause + ("" if named.everywhere is None else _first_node(named.everywhere, quantity))

    @staticmethod
    def _fitting(
        quantity: RowTruth, judged: Sequence[GroupRows | None], tried: list[tuple[str, Any]], spared: int
    ) -> Hypothesis | None:
        """Return what fits the wrong rows of the groups that are given."""
        groups = [(number, group) for number, group in enumerate(judged) if group is not None]

        def picked(values: Any) -> Any:
            by_group = as_groups(np.asarray(values, dtype=np.float64))
            return np.concatenate([by_group[number][group.failed] for number, group in groups])

        largest, rms = (
            np.concatenate([getattr(group.allowance, norm)[group.failed] for _, group in groups])
            for norm in ("largest", "rms")
        )
        value, truth = picked(quantity.fused), picked(quantity.truth)
        wrong = Wrong(value, truth, largest, rms, spared=spared * len(groups))
        others = (Hypothesis(clause, picked(values), values) for clause, values in tried)
        return closest(wrong, chain(narrowed(wrong), _scaled(wrong), others))


def _from(node: int) -> str:
    return f"; that is so from node {node} on"


def _first_node(predicted: Any, quantity: RowTruth) -> str:
    """Say which node a hypothesis changes first, where rows are nodes."""
    if quantity.rows is None or quantity.truth is None:
        return ""
    every = (
        as_groups(np.asarray(each, dtype=np.float64)) for each in (predicted, quantity.truth, quantity.fused)
    )
    rows = [first_changed(*group) for group in zip(*every, strict=True)]
    first = min((row for row in rows if row is not None), default=None)
    return "" if first is None else _from(int(quantity.rows[first]))


def _alike(values: Any, quantity: RowTruth) -> bool:
    return quantity.truth is not None and values.shape == quantity.truth.shape


def _groups(quantity: RowTruth, dtype: str) -> list[GroupRows]:
    assert quantity.fused is not None
    assert quantity.truth is not None
    fused, truth = as_groups(quantity.fused), as_groups(quantity.truth)
    samples = [as_groups(sample) for sample in quantity.samples]
    return [
        measure("", fused[number], truth[number], tuple(each[number] for each in samples), dtype)
        for number in range(len(truth))
    ]


def _of_itself(column: str, quantity: RowTruth) -> Iterator[tuple[str, Any]]:
    """What the right features become with taps in another order, and the right rows with their heads."""
    truth = np.asarray(quantity.truth, dtype=np.float64)
    if column == "kv" and truth.ndim == KV_AXES:
        yield "its value with the heads in reverse order", np.flip(truth, 2)
        yield "its value with keys and values exchanged", np.flip(truth, 1)
    if column == "features" and truth.ndim == 2 and truth.shape[1] % TAPS == 0:
        taps = np.split(truth, TAPS, axis=1)
        yield "made of interleaved taps", np.stack(taps, axis=-1).reshape(truth.shape)
        for order in product(range(TAPS), repeat=TAPS):
            if order != tuple(range(TAPS)):
                told = ", ".join(map(str, order))
                yield f"made of the taps {told}", np.concatenate([taps[tap] for tap in order], axis=1)


def _scaled(wrong: Wrong) -> Iterator[Hypothesis]:
    """What rows become by one factor."""
    size = float((wrong.truth * wrong.truth).sum())
    factor = float((wrong.truth * wrong.value).sum()) / size if size > 0 else 1.0
    if np.isfinite(factor) and abs(factor - 1) > SAME:
        clause = "zero" if abs(factor) < SAME else f"{factor:.4g} times its own"
        yield Hypothesis(clause, wrong.truth * round(factor, 6))


def _handed_on(before: Sequence[StepResults]) -> Iterator[tuple[str, Any]]:
    """Yield rows of earlier forwards that may have been handed on for the path of the last one."""
    last = before[-1] if before else None
    if last is None or last.verified is None or last.accepted is None or last.verified.features is None:
        return
    path, rows = np.array([0, *last.accepted.accepted_nodes.tolist()]), last.verified.features
    yield "the features of the tree's first rows", rows[: len(path)]
    yield "the features of the node behind", rows[np.minimum(path + 1, len(rows) - 1)]
    yield "the features of the node before", rows[np.maximum(path - 1, 0)]
    yield "the root's features in every row", rows[np.zeros_like(path)]
    older = before[-2].verified if len(before) > 1 else None
    if older is not None and older.features is not None and len(older.features) == len(rows):
        yield "the features of the step before", older.features[path]
