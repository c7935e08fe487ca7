"""The arbiter: the replay rung's value of every disputed row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from reference.teacher import TeacherRows
from tracing.finding import Finding
from workbench.judge.evidence import DraftEvidence, PrefillEvidence, StepEvidence, VerifyEvidence
from workbench.judge.row_truth import RowTruth
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_runner import ReferenceRunner

Rows = Mapping[int, NDArray[Any]]
Teacher = TypeVar("Teacher", PrefillEvidence, VerifyEvidence)


@dataclass(frozen=True, slots=True)
class Arbiter:
    """Who gives the third value.

    Attributes:
        runner: The reference.
        prefill_experts, verify_experts: Experts that worked in the truth, or None.
    """

    runner: ReferenceRunner
    prefill_experts: Any = None
    verify_experts: Any = None


def with_arbiter(
    evidence: StepEvidence,
    findings: Sequence[Finding],
    arbiter: Arbiter,
    turn_state: FedTurnState,
    results: StepResults,
) -> StepEvidence:
    """Return the evidence with the arbiter's rows for the stages and nodes that these findings name."""
    runner, stages = arbiter.runner, {finding.moment.stage for finding in findings}
    if "prefill" in stages and evidence.prefill is not None:
        prompt = evidence.prefill.prompt_token_ids.tolist()
        rows = runner.replayed_prefill(prompt, chosen=arbiter.prefill_experts)
        logits, positions = {0: host_floats(rows.logits)[-1]}, range(len(prompt))
        evidence = replace(evidence, prefill=_teacher(evidence.prefill, rows, logits, positions))
    if "draft" in stages and evidence.draft is not None:
        evidence = replace(evidence, draft=_draft(evidence.draft, runner, turn_state, results))
    if "verify" in stages and evidence.verify is not None and results.tensorized is not None:
        nodes = {each.moment.node for each in findings if each.moment.stage == "verify"}
        judged = [node for node in np.flatnonzero(results.tensorized.valid).tolist() if node in nodes]
        if judged:
            rows = runner.replayed_nodes(
                turn_state.committed, results.tensorized, judged, chosen=arbiter.verify_experts
            )
            logits = _rows_of(host_floats(rows.logits), judged, 0)
            evidence = replace(evidence, verify=_teacher(evidence.verify, rows, logits, judged))
    return evidence


def _teacher(evidence: Teacher, rows: TeacherRows, logits: Rows, nodes: Sequence[int] | range) -> Teacher:
    features = _with(evidence.features, _rows_of(host_floats(rows.features), nodes, 0))
    kv = _with(evidence.kv, _rows_of(host_floats(rows.kv), nodes, 3))
    return replace(evidence, logits=_with(evidence.logits, logits), features=features, kv=kv)


def _draft(
    evidence: DraftEvidence, runner: ReferenceRunner, turn_state: FedTurnState, results: StepResults
) -> DraftEvidence:
    if results.drafted is None:
        return evidence
    if evidence.nodes is not None:
        replayed_score = runner.replayed_score(*turn_state.fed, results.drafted)
        rows = () if replayed_score is None else host_floats(replayed_score.logprobs)
        by_row = replace(evidence.nodes.rows, arbiter=dict(enumerate(rows)))
        return replace(evidence, nodes=replace(evidence.nodes, rows=by_row))
    if not evidence.levels:
        return evidence
    replayed = runner.replayed_draft(*turn_state.fed, results.drafted.levels or ())
    levels = tuple(
        replace(level, arbiter=dict(enumerate(host_floats(true.row_logprobs))))
        for level, true in zip(evidence.levels, replayed.levels, strict=True)
    )
    committed_kv = host_floats(replayed.committed_kv)
    kv = _with(evidence.kv, _rows_of(committed_kv, range(committed_kv.shape[3]), 3))
    return replace(evidence, levels=levels, kv=kv)


def _rows_of(array: NDArray[Any], rows: Sequence[int] | range, axis: int) -> dict[int, NDArray[Any]]:
    return {row: np.take(array, row, axis) for row in rows}


def _with(quantity: RowTruth | None, arbiter: Rows) -> RowTruth | None:
    return None if quantity is None else replace(quantity, arbiter=arbiter)
