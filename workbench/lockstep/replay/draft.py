"""True draft scores of recorded nodes: the reference's drafter follows the recorded tree, or scores it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.model import ReferenceModels
from reference.search import DraftContext
from tracing.settings import DRAWN_DRAFTS
from tracing.stages import Drafted, IntArray, Tensorized
from workbench.judge.draft_nodes import DraftNodes, judge_node_scores
from workbench.judge.draft_order import judge_node_order
from workbench.judge.evidence import NodeTruth, StepEvidence
from workbench.judge.notes import Notes, StageJudgement
from workbench.lockstep.staged.evidence import level_truth
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_runner import ReferenceRunner

Rows = tuple[NDArray[Any], IntArray]
"""Log-probabilities `[G, Vd]`, and the row that proposed each node, `[n]`; -1 where there is none."""
UNSELECTED = "scores of candidates that were not selected are not in the trace"


@dataclass(frozen=True, slots=True)
class Fed:
    """Inputs of the drafter.

    Attributes:
        committed: Token ids whose K and V are committed.
        root: The last emitted token.
        models: The truth first, then samples.
        features: Teacher features of the committed rows, per model, each model's own.
        max_positions: Positions that the engine has, or None where not known.
    """

    committed: Sequence[int]
    root: int
    models: Sequence[ReferenceModels]
    features: Sequence[Any]
    max_positions: int | None = None

    @property
    def num_in_reach(self) -> int:
        """Nodes of a chain before the last position; engines draft nothing of use beyond it."""
        return sys.maxsize if self.max_positions is None else self.max_positions - len(self.committed)


def _is_ordered(runner: ReferenceRunner, parents: NDArray[Any]) -> bool:
    """Whether tokens under a node are the best of its row: not drawn, no static tree of chosen ranks."""
    if runner.settings.acceptance in DRAWN_DRAFTS:
        return False
    return runner.stages.rung.search(runner.truth) is not None or len(set(parents[1:])) == len(parents) - 1


def judge_scores(
    runner: ReferenceRunner,
    evidence: StepEvidence,
    tree: Tensorized,
    recorded: NDArray[Any] | None,
    fed: Fed,
) -> StageJudgement:
    """Judge the recorded scores of the valid nodes; without scores, that they are the best of their rows.

    Args:
        runner: The reference.
        evidence: Of the step; its moment and dtype.
        tree: The recorded tree.
        recorded: `draft_logprobs`, cumulative, `[N]`; None where the path gave none.
        fed: Inputs of the drafter.
    """
    notes = Notes(evidence.moment, "draft", evidence.dtype)
    token_ids, parents = tree.token_ids[tree.valid], tree.parents[tree.valid]
    walked = [
        _walk(runner, each, Drafted(token_ids=token_ids, parents=parents), features, fed)
        for each, features in zip(fed.models, fed.features, strict=True)
    ]
    rows = [each[0] for each in walked if each is not None]
    if walked[0] is not None and len(rows) > 1 and len(token_ids) > 1:
        nodes = DraftNodes.of(token_ids, parents, runner.target_from_draft)
        truth = NodeTruth(rows=level_truth(rows), row_of=walked[0][1])
        if recorded is not None:
            judge_node_scores(notes, nodes, np.asarray(recorded)[tree.valid], truth)
        elif _is_ordered(runner, parents):
            judge_node_order(notes, nodes, truth, fed.num_in_reach)
    notes.skip("candidates", UNSELECTED)
    return notes.judgement()


def _walk(
    runner: ReferenceRunner, models: ReferenceModels, drafted: Drafted, features: Any, fed: Fed
) -> Rows | None:
    """Expand every node that has children, level by level; None for a drafter that cannot score."""
    search = runner.stages.rung.search(models)
    if search is None:
        fed_model = (fed.committed, fed.root, features, runner.settings)
        scored = runner.stages.rung.score(models, *fed_model, drafted=drafted)
        return None if scored is None else (host_floats(scored.logprobs), np.asarray(scored.row_of))
    parents = drafted.parents
    rows = search.begin(models, DraftContext(fed.committed, fed.root, features), runner.settings)
    found: list[NDArray[Any]] = []
    row_of = np.full(len(parents), -1, dtype=np.int64)
    level = np.zeros(1, dtype=np.int64)
    while level.size:
        below = np.flatnonzero(np.isin(parents, level) & (np.arange(len(parents)) > parents))
        row_of[below] = np.searchsorted(level, parents[below]) + sum(map(len, found))
        found.append(host_floats(rows.logprobs))
        following = below[np.isin(below, parents)]
        if following.size:
            beams = np.searchsorted(level, parents[following])
            rows = search.expand(rows, beams, drafted.token_ids[following])
        level = following
    return np.concatenate(found), row_of
