"""An independent oracle for the shape of the tree: the index arithmetic that EAGLE-3 engines use.

Parents are never looked up by level here. Every block of K candidates has one parent code (0 is the root,
otherwise a flat number plus one), and parent rows are found by searching the sorted selection, as engines do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Row = Callable[[tuple[int, ...]], Tensor]
"""Log-probabilities over target token ids after the root and a path of tokens."""


@dataclass(frozen=True)
class OfficialTree:
    token_ids: list[int]
    parents: list[int]
    depths: list[int]
    flat_ids: list[int]
    scores: list[float]
    visible: Tensor


def _top(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    ordered = torch.sort(values, descending=True, stable=True, dim=-1)
    return ordered.values[..., :count], ordered.indices[..., :count]


def official_tree(row: Row, root: int, top_k: int, depth: int, total_token: int) -> OfficialTree:
    live_scores, ids = _top(row(()), top_k)
    score_blocks, token_blocks = [live_scores[None]], [ids[None]]
    parent_codes = [torch.zeros(1, dtype=torch.int64)]
    paths = [(int(token),) for token in ids]
    survivors = torch.arange(top_k)
    for level in range(depth):
        offset = 1 + (top_k if level > 0 else 0) + top_k * top_k * max(0, level - 1)
        parent_codes.append(survivors + offset)
        logprobs, ids = _top(torch.stack([row(path) for path in paths]), top_k)
        block = logprobs + live_scores[:, None]
        score_blocks.append(block)
        token_blocks.append(ids)
        live_scores, survivors = _top(block.reshape(-1), top_k)
        paths = [(*paths[int(s) // top_k], int(ids.reshape(-1)[s])) for s in survivors]
    scores = torch.cat([block.reshape(-1) for block in score_blocks])
    tokens = torch.cat([block.reshape(-1) for block in token_blocks])
    chosen = _top(scores, total_token - 1)[1].sort().values
    codes = torch.cat(parent_codes)[torch.div(chosen, top_k, rounding_mode="floor")]
    rows = torch.searchsorted(chosen, codes - 1, right=False)
    rows[codes == 0] = -1
    parents = (rows + 1).tolist()
    num_nodes = len(chosen) + 1
    visible = torch.eye(num_nodes, dtype=torch.bool)
    visible[:, 0] = True
    for node, parent in enumerate(parents, start=1):
        visible[node] |= visible[parent]
    return OfficialTree(
        token_ids=[root, *tokens[chosen].tolist()],
        parents=[0, *parents],
        depths=(visible.sum(dim=1) - 1).tolist(),
        flat_ids=chosen.tolist(),
        scores=[0.0, *scores[chosen].tolist()],
        visible=visible,
    )
