"""The arbiter: the replay rung's value of every disputed row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.teacher import TeacherRows
from tracing.finding import Finding
from workbench.judge.evidence import DraftEvidence, PrefillEvidence, RowTruth, StepEvidence, VerifyEvidence
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import StepResults
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_runner import ReferenceRunner

Rows = Mapping[int, NDArray[Any]]


def with_arbiter(
    evidence: StepEvidence,
    findings: Sequence[Finding],
    runner: ReferenceRunner,
    turn_state: FedTurnState,
    results: StepResults,
) -> StepEvidence:
    """Return the evidence with the arbiter's rows for the stages and nodes that these findings name."""
    stages = {finding.moment.stage for finding in findings}
    if "prefill" in stages and evidence.prefill is not None:
        rows = runner.replayed_prefill(evidence.prefill.prompt_token_ids.tolist())
        evidence = replace(evidence, prefill=_prefill(evidence.prefill, rows))
    if "draft" in stages and evidence.draft is not None:
        evidence = replace(evidence, draft=_draft(evidence.draft, runner, turn_state, results))
    if "verify" in stages and evidence.verify is not None and results.tensorized is not None:
        nodes = sorted(
            {
                each.moment.node
                for each in findings
                if each.moment.stage == "verify" and each.moment.node is not None
            }
        )
        judged = [node for node in nodes if results.tensorized.valid[node]]
        if judged:
            rows = runner.replayed_nodes(turn_state.committed, results.tensorized, judged)
            evidence = replace(evidence, verify=_verify(evidence.verify, rows, judged))
    return evidence


def _prefill(evidence: PrefillEvidence, rows: TeacherRows) -> PrefillEvidence:
    everything = range(len(evidence.prompt_token_ids))
    return replace(
        evidence,
        logits=_with(evidence.logits, {0: host_floats(rows.logits)[-1]}),
        features=_with(evidence.features, _rows_of(host_floats(rows.features), everything, 0)),
        kv=_with(evidence.kv, _rows_of(host_floats(rows.kv), everything, 3)),
    )


def _verify(evidence: VerifyEvidence, rows: TeacherRows, nodes: Sequence[int]) -> VerifyEvidence:
    return replace(
        evidence,
        logits=_with(evidence.logits, _rows_of(host_floats(rows.logits), nodes, 0)),
        features=_with(evidence.features, _rows_of(host_floats(rows.features), nodes, 0)),
        kv=_with(evidence.kv, _rows_of(host_floats(rows.kv), nodes, 3)),
    )


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


def _rows_of(array: NDArray[Any], rows: Sequence[int] | range, axis: int) -> Rows:
    return {row: np.take(array, row, axis) for row in rows}


def _with(quantity: RowTruth | None, arbiter: Rows) -> RowTruth | None:
    return None if quantity is None else replace(quantity, arbiter=arbiter)
