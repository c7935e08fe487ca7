"""The beams and nodes of a path with the reference's own scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reference.drafters.seam import DraftScore
from reference.search import DraftTruth
from tracing.stages import Drafted, DraftLevel, IntArray
from workbench.judge.draft_nodes import DraftNodes
from workbench.lockstep.tensors.host import host_floats


def by_truth(drafted: Drafted, truth: DraftTruth | DraftScore, target_from_draft: IntArray) -> Drafted | None:
    """Return the path's beams and nodes with the reference's own scores; None where they make no sense."""
    if isinstance(truth, DraftScore):
        rows = host_floats(truth.logprobs)
        nodes = DraftNodes.of(drafted.token_ids, drafted.parents, target_from_draft)
        return replace(drafted, logprobs=nodes.cumulative(rows, truth.row_of).astype(np.float32))
    levels = _rescored(drafted.levels or (), truth, target_from_draft)
    scores = np.concatenate([level.scores.ravel() for level in levels])
    flat_ids = drafted.flat_ids
    if flat_ids is None or np.any((flat_ids < 0) | (flat_ids >= len(scores))):
        return None
    return replace(
        drafted, logprobs=np.concatenate([np.zeros(1, np.float32), scores[flat_ids]]), levels=levels
    )


def _rescored(
    levels: Sequence[DraftLevel], truth: DraftTruth, target_from_draft: Any
) -> tuple[DraftLevel, ...]:
    """Return the path's levels with the reference's scores; minus infinity off the draft vocabulary."""
    draft_from_target = {int(target): draft for draft, target in enumerate(target_from_draft)}
    rescored_levels = []
    for level, true in zip(levels, truth.levels, strict=True):
        rows = true.row_logprobs.float().cpu().numpy()
        columns = np.vectorize(lambda token: draft_from_target.get(int(token), len(target_from_draft)))(
            level.token_ids
        )
        padded = np.concatenate([rows, np.full((len(rows), 1), -np.inf, np.float32)], axis=1)
        beams = true.beam_logprob.float().cpu().numpy()[:, None]
        scores = (beams + np.take_along_axis(padded, columns, axis=1)).astype(np.float32)
        rescored_levels.append(replace(level, scores=scores))
    return tuple(rescored_levels)
