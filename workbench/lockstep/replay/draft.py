"""True draft scores of recorded nodes: the reference's drafter follows the recorded tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.model import ReferenceModels
from reference.search import DraftContext
from tracing.stages import Tensorized
from workbench.judge.allowance import row_allowances
from workbench.judge.evidence import StepEvidence
from workbench.judge.notes import Notes, StageJudgement
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_runner import ReferenceRunner

Rows = dict[int, NDArray[Any]]
"""Log-probabilities after each node that has children, `[Vd]`, by node."""
Scores = dict[int, tuple[float, float]]
"""Cumulative score and allowance by node."""
SUM_ROUNDING = 2.0**-23
"""Scores are added up in float32: one rounding per level, relative."""
UNSELECTED = "scores of candidates that were not selected are not in the trace"


@dataclass(frozen=True, slots=True)
class Fed:
    """Inputs of the drafter.

    Attributes:
        committed: Token ids whose K and V are committed.
        root: The last emitted token.
        features: Teacher features of the committed rows, per model of the runner, each model's own.
    """

    committed: Sequence[int]
    root: int
    features: Sequence[Any]


def judge_scores(
    runner: ReferenceRunner, evidence: StepEvidence, tree: Tensorized, recorded: NDArray[Any], fed: Fed
) -> StageJudgement:
    """Judge the recorded scores of the valid nodes.

    Args:
        runner: The reference.
        evidence: Of the step; its moment and dtype.
        tree: The recorded tree.
        recorded: `draft_logprobs`, cumulative, `[N]`.
        fed: Inputs of the drafter.
    """
    notes = Notes(evidence.moment, "draft")
    walked = [
        _walk(runner, models, tree, features, fed)
        for models, features in zip(runner.models, fed.features, strict=True)
    ]
    truth, samples = walked[0], walked[1:]
    nodes = sorted(truth)
    if nodes and samples:
        exact = np.stack([truth[node] for node in nodes])
        permuted = tuple(np.stack([sample[node] for node in nodes]) for sample in samples)
        allowed = row_allowances(exact, permuted, evidence.dtype).largest
        expected = _expected(notes, runner, tree, truth, dict(zip(nodes, allowed.tolist(), strict=True)))
        _compare(notes, np.asarray(recorded, dtype=np.float64), expected)
        notes.check("draft_logprobs")
    notes.skip("candidates", UNSELECTED)
    return notes.judgement()


def _walk(
    runner: ReferenceRunner, models: ReferenceModels, tree: Tensorized, features: Any, fed: Fed
) -> Rows:
    """Expand every node that has children, level by level."""
    search = runner.stages.rung.search(models)
    if search is None:
        return {}
    parents = [node for node in np.flatnonzero(tree.valid).tolist() if _has_children(tree, node)]
    found: Rows = {}
    rows = search.begin(models, DraftContext(fed.committed, fed.root, features), runner.settings)
    level = [0] if 0 in parents else []
    while level:
        logprobs = host_floats(rows.logprobs)
        found |= {node: logprobs[place] for place, node in enumerate(level)}
        following = [node for node in parents if node != 0 and int(tree.parents[node]) in level]
        if following:
            beams = np.array([level.index(int(tree.parents[node])) for node in following], dtype=np.int64)
            rows = search.expand(rows, beams, tree.token_ids[following])
        level = following
    return found


def _has_children(tree: Tensorized, node: int) -> bool:
    below = tree.valid & (tree.parents == node)
    return bool(below[1:].any())


def _expected(
    notes: Notes, runner: ReferenceRunner, tree: Tensorized, truth: Rows, allowed: dict[int, float]
) -> Scores:
    """Return score and allowance of every node that can have one; both add up along the path."""
    targets = runner.truth.target_from_draft.cpu().numpy().tolist()
    draft_from_target = {int(target): draft for draft, target in enumerate(targets)}
    expected: Scores = {0: (0.0, 0.0)}
    for node in np.flatnonzero(tree.valid).tolist()[1:]:
        parent, token = int(tree.parents[node]), int(tree.token_ids[node])
        if parent not in expected or parent not in truth:
            continue
        if token not in draft_from_target:
            message = f"node {node} has token {token}, which is not in the draft vocabulary"
            notes.finding("JUDGE-DRAFT-VOCAB", "token_ids", message, node=node, fused=token)
            continue
        score = expected[parent][0] + float(truth[parent][draft_from_target[token]])
        expected[node] = score, expected[parent][1] + allowed[parent] + SUM_ROUNDING * abs(score)
    return expected


def _compare(notes: Notes, recorded: NDArray[np.float64], expected: Scores) -> None:
    for node, (score, allowance) in expected.items():
        gap = abs(float(recorded[node]) - score)
        if not gap <= allowance:
            message = f"node {node} scores {recorded[node]:.6g}, by the reference's drafter {score:.6g}"
            notes.finding(
                "JUDGE-DRAFT-SCORES",
                "draft_logprobs",
                message,
                node=node,
                fused=float(recorded[node]),
                reference=score,
                allowance=allowance,
                gap=gap,
            )
