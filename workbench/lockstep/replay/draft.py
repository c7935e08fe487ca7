"""True draft scores of recorded nodes: the reference's drafter follows the recorded tree, or scores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.model import ReferenceModels
from reference.search import DraftContext, Rows
from tracing.settings import DRAWN_DRAFTS
from tracing.stages import Drafted, IntArray, Tensorized
from workbench.judge.draft_nodes import DraftNodes, judge_node_scores
from workbench.judge.draft_order import judge_node_order
from workbench.judge.evidence import NodeTruth, StepEvidence
from workbench.judge.notes import Notes, StageJudgement
from workbench.lockstep.staged.evidence import level_truth
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_runner import ReferenceRunner

UNSELECTED = "scores of candidates that were not selected are not in the trace"


@dataclass(frozen=True, slots=True)
class ScoredDraft:
    """What one model makes of a recorded draft.

    Attributes:
        logprobs: `[G, Vd]`.
        row_of: Row that proposed each node, `[n]`; -1 where there is none.
    """

    logprobs: NDArray[Any]
    row_of: IntArray


def _is_ordered(runner: ReferenceRunner, parents: NDArray[Any]) -> bool:
    """Whether tokens under a node are the best of its row: not drawn, no static tree of chosen ranks."""
    if runner.settings.acceptance in DRAWN_DRAFTS:
        return False
    return runner.stages.rung.search(runner.truth) is not None or len(set(parents[1:])) == len(parents) - 1


def judge_scores(
    runner: ReferenceRunner,
    evidence: StepEvidence,
    tree: Tensorized,
    scored: Sequence[ScoredDraft | None],
    *,
    recorded: NDArray[Any] | None,
    num_in_reach: int,
) -> StageJudgement:
    """Judge the recorded scores of the valid nodes; without scores, that they are the best of their rows.

    Args:
        runner: The reference.
        evidence: Of the step; its moment and dtype.
        tree: The recorded tree.
        scored: The draft by each model, the truth first.
        recorded: `draft_logprobs`, cumulative, `[N]`; None where the path gave none.
        num_in_reach: Nodes of a chain before the last position of the engine; none of use lies beyond it.
    """
    notes = Notes(evidence.moment, "draft", evidence.dtype)
    drafted = drafted_of(tree)
    rows = [each.logprobs for each in scored if each is not None]
    first = scored[0]
    if first is not None and len(rows) > 1 and len(drafted.token_ids) > 1:
        nodes = DraftNodes.of(drafted.token_ids, drafted.parents, runner.target_from_draft)
        truth = NodeTruth(rows=level_truth(rows), row_of=first.row_of)
        if recorded is not None:
            judge_node_scores(notes, nodes, np.asarray(recorded)[tree.valid], truth)
        elif _is_ordered(runner, drafted.parents):
            judge_node_order(notes, nodes, truth, num_in_reach)
    notes.skip("candidates", UNSELECTED)
    return notes.judgement()


def drafted_of(tree: Tensorized) -> Drafted:
    """Return the valid nodes of a recorded tree as a draft."""
    return Drafted(token_ids=tree.token_ids[tree.valid], parents=tree.parents[tree.valid])


def score_nodes(
    runner: ReferenceRunner, models: ReferenceModels, context: DraftContext, drafted: Drafted
) -> ScoredDraft | None:
    """Score the nodes of a draft after its context; None for a drafter that cannot."""
    search = runner.stages.rung.search(models)
    if search is None:
        fed = (context.token_ids, context.root, context.features, runner.settings)
        scored = runner.stages.rung.score(models, *fed, drafted=drafted)
        return (
            None if scored is None else ScoredDraft(host_floats(scored.logprobs), np.asarray(scored.row_of))
        )
    rows = search.begin(models, context, runner.settings)
    return expand_nodes(rows, search.expand, [drafted])[0]


def expand_nodes(rows: Rows, expand: Callable[..., Any], drafts: Sequence[Drafted]) -> list[ScoredDraft]:
    """Expand every node that has children, level by level, of all drafts at once.

    Args:
        rows: Those that propose below the root of each draft.
        expand: Of the search, see `reference.search.Expand`.
        drafts: Trees; a node whose parent does not come before it is left out.
    """
    starts = np.cumsum([0, *(len(each.token_ids) for each in drafts)])
    token_ids = np.concatenate([each.token_ids for each in drafts])
    parents = np.concatenate(
        [each.parents + start for each, start in zip(drafts, starts.tolist(), strict=False)]
    )
    found: list[NDArray[Any]] = []
    row_of = np.full(len(parents), -1, dtype=np.int64)
    asking = [starts[:-1]]
    while asking[-1].size:
        level = asking[-1]
        below = np.flatnonzero(np.isin(parents, level) & (np.arange(len(parents)) > parents))
        row_of[below] = np.searchsorted(level, parents[below]) + sum(map(len, found))
        found.append(host_floats(rows.logprobs))
        following = below[np.isin(below, parents)]
        if following.size:
            beams = np.searchsorted(level, parents[following])
            rows = expand(rows, beams, token_ids[following])
        asking.append(following)
    logprobs, node_of_row = np.concatenate(found), np.concatenate(asking)
    return [
        _own_rows(logprobs, row_of[start:end], (node_of_row >= start) & (node_of_row < end))
        for start, end in pairwise(starts.tolist())
    ]


def _own_rows(logprobs: NDArray[Any], row_of: IntArray, is_own: NDArray[np.bool_]) -> ScoredDraft:
    """Return the rows of one draft among those of all."""
    own = np.flatnonzero(is_own)
    return ScoredDraft(logprobs[own], np.where(row_of >= 0, np.searchsorted(own, row_of), -1))
