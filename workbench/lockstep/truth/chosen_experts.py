"""Which experts the reference lets work: those of the path under test, in the truth and in all samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from reference.model import ReferenceModels
from reference.teacher import TeacherRows
from tracing.models import Experts, TeacherConfig
from tracing.stages import IntArray, Verified
from workbench.judge.experts import lawful_experts
from workbench.lockstep.engine.turn_state import FedTurnState


def chosen_of(expert_ids: IntArray | None, experts: Experts | None) -> IntArray | None:
    """Return the experts that a path gives for rows, one per group; None where it gives none."""
    return None if experts is None or expert_ids is None else lawful_experts(expert_ids, experts)


def chosen_of_step(
    turn_state: FedTurnState, num_nodes: int, verified: Verified | None, teacher: TeacherConfig
) -> IntArray | None:
    """Return the experts that a path gives for committed rows and nodes, `[layers, L + N, num_groups]`."""
    experts, nodes = teacher.experts, None if verified is None else verified.expert_ids
    committed = turn_state.expert_ids
    if experts is None or (nodes is None and committed is None):
        return None

    def unknown(num_rows: int) -> IntArray:
        return np.full((teacher.num_layers, num_rows, experts.num_groups), -1, dtype=np.int64)

    parts = [
        unknown(len(turn_state.committed)) if committed is None else committed,
        unknown(num_nodes) if nodes is None else nodes,
    ]
    return lawful_experts(np.concatenate(parts, axis=1), experts)


def worked(rows: Sequence[TeacherRows]) -> Any:
    """Return the experts that worked in the truth; None where there is none, or the model has none."""
    return None if not rows or rows[0].routing is None else rows[0].routing.expert_ids


def run_alike(
    run: Callable[..., TeacherRows], models: Sequence[ReferenceModels], chosen: Any
) -> tuple[TeacherRows, ...]:
    """Run models; experts that are not given are the first one's in all, else a sample's error is a leap.

    Args:
        run: Takes a model, and `chosen` where there are experts.
        models: The truth and samples of it.
        chosen: Experts that have to work, or None.
    """
    rows: list[TeacherRows] = []
    for each in models:
        rows.append(run(each, **forced(worked(rows) if rows else chosen)))
    return tuple(rows)


def forced(chosen: Any) -> dict[str, Any]:
    """Return the keyword of a rung for experts that have to work; nothing where none are given."""
    return {} if chosen is None else {"chosen": torch.as_tensor(chosen)}
