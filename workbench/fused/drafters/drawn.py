"""Drafts drawn from the drafter's law: a chain, or several of them that part below the root.

The shape never depends on what is drawn, or acceptance would not be exact: `top_k` children of the root, or
one for rules of chains, and one child of every other node, level by level, down to `depth + 1`, cut at
`tree_nodes`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tracing.draws import Draws
from tracing.settings import CHAINS, DecodeSettings
from tracing.stages import Drafted
from workbench.fused.drafters.search import Beams, Expand, SearchRows
from workbench.fused.sampling.decide import token_of
from workbench.fused.sampling.law import laws


def grow_drawn(
    root_row: SearchRows, expand: Expand, settings: DecodeSettings, draws: Draws, root: int
) -> Drafted:
    """Return a drawn draft, with the law that the children of each node were drawn from.

    Args:
        root_row: The one row that proposes below the root.
        expand: Runs the rows of a level.
        settings: Shape, acceptance and warping; the drafter's law is warped like the teacher's.
        draws: One a drafted node, in the order of nodes.
        root: Token of the root.
    """
    width = 1 if settings.acceptance in CHAINS else settings.top_k
    tokens, parents, depths = [root], [0], [0]
    probs, scores = [1.0], [0.0]
    drawn_from: list[Tensor] = []
    live, rows, visible = [0], root_row, torch.zeros((1, 0), dtype=torch.bool, device=root_row.logits.device)
    for depth in range(1, settings.depth + 2):
        law, own_scores = laws(rows.logits, settings), rows.logits.float().log_softmax(dim=-1)
        drawn_from += list(law)
        below: list[int] = []
        parent_rows: list[int] = []
        for place, node in enumerate(live):
            rest = law[place].double()
            for _ in range(width if node == 0 else 1):
                if len(tokens) == settings.tree_nodes or float(rest.sum()) <= 0:
                    break
                token_id = token_of(draws.take(), rest)
                below.append(len(tokens))
                parent_rows.append(place)
                tokens.append(token_id)
                parents.append(node)
                depths.append(depth)
                probs.append(float(rest[token_id] / rest.sum()))
                scores.append(scores[node] + float(own_scores[place, token_id]))
                if settings.acceptance == "rsd":
                    rest[token_id] = 0
        if not below or depth == settings.depth + 1:
            live = below
            break
        device = law.device
        if depth > 1:
            visible = visible[parent_rows]
        else:
            visible = torch.zeros((len(below), 0), dtype=torch.bool, device=device)
        beams = Beams(
            token_ids=torch.tensor([tokens[node] for node in below], device=device),
            scores=torch.zeros(len(below), device=device),
            flat_ids=torch.arange(len(below), device=device),
            hidden=rows.hidden[parent_rows],
            tree_visible=visible,
            expansion=depth - 1,
        )
        rows, visible = expand(beams)
        live = below
    vocab = root_row.logits.shape[-1]
    last = [torch.zeros(vocab, dtype=drawn_from[0].dtype, device=drawn_from[0].device)]
    return Drafted(
        token_ids=np.array(tokens, dtype=np.int64),
        parents=np.array(parents, dtype=np.int64),
        depths=np.array(depths, dtype=np.int64),
        logprobs=np.array(scores, dtype=np.float32),
        draft_probs=np.array(probs, dtype=np.float32),
        draft_law=torch.stack(drawn_from + last * (len(tokens) - len(drawn_from))),
        proposer="draft_model",
    )
