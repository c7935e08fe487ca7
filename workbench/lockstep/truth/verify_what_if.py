"""What the teacher would give if one standard mistake were made; asked only of a forward that is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from reference import teacher
from reference.model import ReferenceModels
from reference.teacher import TeacherRows
from reference.visible import causal
from tracing.models import DrafterConfig
from tracing.stages import BoolArray, Tensorized
from workbench.judge.ancestry import ancestors
from workbench.lockstep.truth.reference_runner import ReferenceRunner


@dataclass(frozen=True, slots=True)
class FedTree:
    """What a forward over the tree was given.

    Attributes:
        runner: The reference.
        committed: Committed token ids.
        tree: The arrays of the step.
        before: Those of the step before, or None.
    """

    runner: ReferenceRunner
    committed: Sequence[int]
    tree: Tensorized
    before: Tensorized | None = None

    def rows(self, **changes: Any) -> TeacherRows:
        """Return the truth's rows of the N nodes with other arrays."""
        tree = replace(self.tree, **changes)
        models, rung = self.runner.truth, self.runner.stages.rung
        given = (tree.token_ids, tree.position_ids, tree.visible)
        return (rung if rung.name == "masked" else _masked()).verify(models, self.committed, *given)


def _masked() -> Any:
    from reference.rungs import MASKED

    return MASKED


def rows_otherwise(fed: FedTree, node: int) -> Iterator[tuple[str, TeacherRows]]:
    """Yield what the nodes' rows would be; `node` is the first wrong one."""
    for clause, visible in _other_masks(fed.tree, node):
        yield f"its value {clause}", fed.rows(visible=visible)
    valid, positions = fed.tree.valid, np.asarray(fed.tree.position_ids)
    rows, root = np.arange(len(positions)), positions[0]
    for clause, other in (
        ("one position further on", positions + valid),
        ("one position further back", positions - valid),
        ("at a position by the number of the row", root + rows),
        ("at the root's position", np.full_like(positions, root)),
    ):
        if other.min(initial=0) >= 0:
            yield f"its value {clause}", fed.rows(position_ids=other)
    if fed.before is not None and len(fed.before.valid) == len(valid):
        for name in ("position_ids", "token_ids", "visible"):
            stale = getattr(fed.before, name)
            yield f"its value with the {name} of the step before", fed.rows(**{name: stale})


def _other_masks(tree: Tensorized, node: int) -> Iterator[tuple[str, BoolArray]]:
    visible, valid = np.asarray(tree.visible), np.asarray(tree.valid)
    both = valid[:, None] & valid[None, :]
    itself = np.eye(len(valid), dtype=np.bool_)
    without_root = visible.copy()
    without_root[1:, 0] = False
    parents = itself.copy()
    parents[np.arange(len(valid)), tree.parents] = True
    yield "if the tree's mask is not applied and every row sees all", both
    yield "under a causal mask in place of the tree's", both & np.tri(len(valid), dtype=np.bool_)
    yield "under the inverted mask", both & ~visible
    yield "under the transposed mask", visible.T.copy()
    yield "without seeing the root", without_root
    yield "without seeing itself", visible & ~itself
    yield "if a node sees only itself and its parent", visible & parents
    yield "if a node sees only itself", visible & itself
    for hidden in ancestors(tree.parents, node):
        changed = visible.copy()
        changed[node, hidden] = False
        yield f"without seeing node {hidden}", changed
    for shown in range(node):
        if not visible[node, shown]:
            changed = visible.copy()
            changed[node, shown] = True
            yield f"if it sees node {shown} as well", changed


def prefill_otherwise(models: ReferenceModels, prompt: Sequence[int]) -> Iterator[tuple[str, TeacherRows]]:
    """Yield what the rows of a prompt would be."""
    tokens = models.tokens(prompt)
    places = torch.arange(len(tokens), device=models.device)
    sees = causal(len(tokens), models.teacher.sliding_window, models.device)
    every = torch.ones_like(sees)
    yield (
        "its value one position further on",
        teacher.forward(models, tokens, places + 1, sees, num_logits=1),
    )
    yield "its value without a causal mask", teacher.forward(models, tokens, places, every, num_logits=1)
    for clause, other in other_taps(models):
        yield clause, teacher.forward(other, tokens, places, sees, num_logits=1)


def other_taps(models: ReferenceModels) -> Iterator[tuple[str, ReferenceModels]]:
    """Yield models with taps one layer aside, where the pair has such."""
    config = models.pair.drafter
    if not isinstance(config, DrafterConfig):
        return
    for shift, clause in ((1, "leaves the tapped layers"), (-1, "enters the layers before the tapped ones")):
        low, middle, high = np.clip(np.add(config.aux_layers, shift), 0, models.teacher.num_layers).tolist()
        other = copy.copy(models)
        other.pair = replace(models.pair, drafter=replace(config, aux_layers=(low, middle, high)))
        yield f"what {clause}, and not what enters them", other
