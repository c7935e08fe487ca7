"""Several steps of one context in one forward: every tree follows its own length of the committed tokens.

It is what `reference.masked` does for one tree, said for several: a node sees the tokens that were committed
before its step and what its own tree shows it, nothing of another tree and nothing committed later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reference import teacher
from reference.model import ReferenceModels
from reference.teacher import TeacherRows
from reference.visible import causal, tree_rows
from tracing.stages import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class TreeAt:
    """The tree of one step.

    Attributes:
        num_committed: Tokens of the context that are committed before the step, L.
        token_ids, position_ids: Of the nodes, `[N]`.
        visible: bool `[N, N]`, the tree block; pads see the prefix only, and no node sees them.
    """

    num_committed: int
    token_ids: IntArray
    position_ids: IntArray
    visible: BoolArray


@dataclass(frozen=True, slots=True)
class StackedRows:
    """What one forward computed.

    Attributes:
        committed: Rows of the committed tokens behind the past ones, `[R, ..]`; no logits.
        trees: Of each tree as `reference.masked.verify` gives them, `visible` `[N, L + N]`.
    """

    committed: TeacherRows
    trees: tuple[TeacherRows, ...]


def verify(
    models: ReferenceModels,
    token_ids: Sequence[int],
    trees: Sequence[TreeAt],
    *,
    past_kv: Tensor | None = None,
) -> StackedRows:
    """Run the teacher over committed tokens and all trees at once.

    Args:
        models: Weights and arithmetic; a teacher without experts.
        token_ids: The longest context; each tree follows its first `num_committed` tokens.
        trees: The steps.
        past_kv: Keys and values of the first S tokens.
    """
    num_past = 0 if past_kv is None else past_kv.shape[3]
    num_committed, device = len(token_ids), models.device
    sizes = [len(tree.token_ids) for tree in trees]
    committed_sees = functional.pad(causal(num_committed, None, device)[num_past:], (0, sum(sizes)))
    positions, sees, own = [torch.arange(num_past, num_committed, device=device)], [committed_sees], []
    for number, tree in enumerate(trees):
        node_positions, nodes_see = tree_rows(tree.position_ids, tree.visible, tree.num_committed, device)
        start = num_committed + sum(sizes[:number])
        columns = [*range(tree.num_committed), *range(start, start + sizes[number])]
        own.append(torch.tensor(columns, device=device))
        wide = torch.zeros(sizes[number], num_committed + sum(sizes), dtype=torch.bool, device=device)
        wide[:, own[-1]] = nodes_see
        positions.append(node_positions)
        sees.append(wide)
    tokens = [models.tokens(token_ids)[num_past:], *(models.tokens(tree.token_ids) for tree in trees)]
    rows = teacher.forward(
        models,
        torch.cat(tokens),
        torch.cat(positions),
        torch.cat(sees),
        past_kv=past_kv,
        num_logits=sum(sizes),
    )
    new = num_committed - num_past
    committed, *parts = (
        TeacherRows(rows.logits[:0], features, kv, visible)
        for features, kv, visible in zip(
            _parts(rows.features, [new, *sizes]),
            _parts(rows.kv, [new, *sizes], dim=3),
            _parts(rows.visible, [new, *sizes]),
            strict=True,
        )
    )
    logits = _parts(rows.logits, sizes)
    return StackedRows(
        committed,
        tuple(
            TeacherRows(logits[number], part.features, part.kv, part.visible[:, own[number]])
            for number, part in enumerate(parts)
        ),
    )


def _parts(rows: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [rows.narrow(dim, start, size) for start, size in zip(starts, sizes, strict=True)]
