"""Faults of the drafted tree: parents, order, siblings, candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from tracing.stages import BeamSearch, Drafted, Tensorized
from workbench.faults.edits import another_parent, deep_node, poked
from workbench.faults.fault import Fault
from workbench.faults.placement import Placement, Scene, after, on_function
from workbench.fused import draft

CANDIDATES: Final = "_candidates"
Candidates = Callable[[Any, torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]
Scored = tuple[torch.Tensor, torch.Tensor]
Ranked = Callable[[torch.Tensor, int], Scored]


def _wrong_parent(made: Drafted, _: Scene) -> Any:
    node = deep_node(made)
    return poked(made, "parents", node, another_parent(made, node))


def _renamed_parent(made: Tensorized, _: Scene) -> Any:
    node = deep_node(made)
    return poked(made, "parents", node, another_parent(made, node))


def _searched(made: Drafted) -> BeamSearch:
    search = made.beam_search()
    assert search is not None  # these faults are placed in a beam search
    return search


def _orphan(made: Drafted, _: Scene) -> Drafted:
    """Drop a node that has children; a binary search then gives them whatever stands in its place."""
    search = _searched(made)
    lost = int(made.parents[deep_node(made)])
    kept = np.flatnonzero(np.arange(len(made.parents)) != lost)
    parents = np.where(made.parents > lost, made.parents - 1, made.parents)[kept]
    return replace(
        made,
        token_ids=made.token_ids[kept],
        parents=np.minimum(parents, len(kept) - 1),
        depths=search.depths[kept],
        logprobs=search.logprobs[kept],
        flat_ids=search.flat_ids[kept[1:] - 1],
    )


def _by_score(made: Drafted, _: Scene) -> Drafted:
    """Number the nodes best first instead of by flat candidate number."""
    search = _searched(made)
    order = np.append(0, 1 + np.argsort(-search.logprobs[1:], kind="stable"))
    new_from_old = np.argsort(order)
    return replace(
        made,
        token_ids=made.token_ids[order],
        parents=new_from_old[made.parents[order]],
        depths=search.depths[order],
        logprobs=search.logprobs[order],
        flat_ids=search.flat_ids[order[1:] - 1],
    )


def _clipped_depths(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, depths=np.minimum(made.depths, 1))


def _last_for_minus_one(made: Tensorized, _: Scene) -> Tensorized:
    """Every path ends in the root's parent, -1, which an index reads as the last node."""
    visible = made.visible.copy()
    visible[made.valid, -1] = True
    return replace(made, visible=visible)


def _twins(honest: Candidates, engine: Any, logits: torch.Tensor, top_k: int) -> Scored:
    scores, token_ids = honest(engine, logits, top_k)
    token_ids[:, 1] = token_ids[:, 0]
    return scores, token_ids


def _without_the_best(honest: Candidates, engine: Any, logits: torch.Tensor, top_k: int) -> Scored:
    scores, token_ids = honest(engine, logits, top_k + 1)
    return scores[:, 1:].contiguous(), token_ids[:, 1:].contiguous()


def _of_the_last_row(honest: Candidates, engine: Any, logits: torch.Tensor, top_k: int) -> Scored:
    return honest(engine, logits[-1:].expand_as(logits), top_k)


def _shared_buffer() -> Placement:
    """One buffer for the token ids of all levels: from the third on, those of the level before are read."""
    kept: list[torch.Tensor] = []

    def stale(honest: Candidates, engine: Any, logits: torch.Tensor, top_k: int) -> Scored:
        scores, token_ids = honest(engine, logits, top_k)
        if len(token_ids) == 1:
            kept.clear()
            return scores, token_ids
        kept.append(token_ids)
        return scores, kept[max(len(kept) - 2, 0)]

    return on_function(draft, CANDIDATES, stale)


def _worst_beams(honest: Ranked, scores: torch.Tensor, k: int) -> Scored:
    """Of all candidates of a level, the k after the best k become beams."""
    if len(scores) > 1 or scores.shape[1] != k * k:
        return honest(scores, k)
    values, indices = honest(scores, 2 * k)
    return values[:, k:].contiguous(), indices[:, k:].contiguous()


def _last_nodes(_: Any, scores: Any, num_kept: int) -> Any:
    """The latest candidates become nodes, not the best; parents are looked up among them."""
    return np.arange(len(scores))[-num_kept:]


def _not_accumulated(made: Drafted, _: Scene) -> Drafted:
    """A node's score is that of its own token, without its parents'."""
    scores = _searched(made).logprobs
    own = scores - np.where(made.parents > 0, scores[made.parents], 0)
    return replace(made, logprobs=own.astype(np.float32))


FAULTS: Final = (
    Fault(
        id="F-TREE-01",
        name="wrong-parent",
        about="A node of depth 2 is given another node of depth 1 as its parent.",
        stage="draft",
        seen_in=("eagle topK_genrate: searchsorted without the check that the parent was found",),
        noticed_by=("JUDGE-DRAFT-PARENTS",),
        place=lambda: after("draft", _wrong_parent),
    ),
    Fault(
        id="F-TREE-02",
        name="orphan-kept",
        about="A node is dropped and its children stay, on whatever stands in its place.",
        stage="draft",
        seen_in=("sgl#7477", "sgl#8409"),
        noticed_by=("JUDGE-DRAFT-CLOSED", "JUDGE-DRAFT-SELECTED"),
        place=lambda: after("draft", _orphan),
    ),
    Fault(
        id="F-TREE-03",
        name="duplicate-sibling",
        about="The second candidate of every beam is its first one again.",
        stage="draft",
        seen_in=("eagle commit 80cd31e",),
        noticed_by=("JUDGE-DRAFT-ORDER", "JUDGE-DRAFT-SCORES"),
        place=lambda: on_function(draft, CANDIDATES, _twins),
    ),
    Fault(
        id="F-TREE-04",
        name="nodes-by-score",
        about="Nodes are numbered best first, not by flat candidate number.",
        stage="draft",
        seen_in=("eagle commit b09a256",),
        noticed_by=("JUDGE-DRAFT-ASCENDING",),
        place=lambda: after("draft", _by_score),
    ),
    Fault(
        id="F-TREE-05",
        name="best-candidate-skipped",
        about="A slice is shifted by one, and the best candidate of every beam is never proposed.",
        stage="draft",
        seen_in=("sgl#27360",),
        noticed_by=("JUDGE-DRAFT-CANDIDATES",),
        place=lambda: on_function(draft, CANDIDATES, _without_the_best),
    ),
    Fault(
        id="F-TREE-06",
        name="drafts-all-alike",
        about="Candidates of all beams are computed from the last beam's row.",
        stage="draft",
        seen_in=("va#12262",),
        noticed_by=("JUDGE-DRAFT-CANDIDATES", "JUDGE-DRAFT-SCORES"),
        place=lambda: on_function(draft, CANDIDATES, _of_the_last_row),
    ),
    Fault(
        id="F-TREE-07",
        name="buffer-of-the-level-before",
        about="All draft levels share one buffer for token ids, and the level before is read from it.",
        stage="draft",
        seen_in=("va#10878", "va#14236", "sgl#15399"),
        noticed_by=("JUDGE-DRAFT-ORDER", "JUDGE-DRAFT-CANDIDATES", "JUDGE-DRAFT-SCORES"),
        place=_shared_buffer,
    ),
    Fault(
        id="F-TREE-08",
        name="parent-renamed",
        about="The arrays name another parent than the draft; visibility is still built from the right one.",
        stage="tensorize",
        seen_in=("pie-project/pie#197",),
        noticed_by=("TREE004", "TREE007", "JUDGE-TENSORIZE-PARENTS"),
        place=lambda: after("tensorize", _renamed_parent),
    ),
    Fault(
        id="F-TREE-09",
        name="depth-clipped",
        about="Depths beyond 1 are written as 1.",
        stage="tensorize",
        seen_in=("medusa#63",),
        noticed_by=("TREE002", "JUDGE-TENSORIZE-DEPTHS"),
        place=lambda: after("tensorize", _clipped_depths),
    ),
    Fault(
        id="F-TREE-10",
        name="minus-one-read-as-last",
        about="The walk to the root follows its parent -1, which an index reads as the last node.",
        stage="tensorize",
        seen_in=("medusa utils.py, retrieve_indices padded with -1", "va#10043"),
        noticed_by=("JUDGE-TENSORIZE-VISIBLE",),
        place=lambda: after("tensorize", _last_for_minus_one),
    ),
    Fault(
        id="F-TREE-11",
        name="second-best-beams",
        about="Beams are kept from the second-best candidates of a level.",
        stage="draft",
        seen_in=("sgl#8409",),
        noticed_by=("JUDGE-DRAFT-BEAMS",),
        place=lambda: on_function(draft, "stable_top_k", _worst_beams),
    ),
    Fault(
        id="F-TREE-12",
        name="latest-candidates-selected",
        about="The tree is made of the last candidates instead of the best ones.",
        stage="draft",
        seen_in=("sgl#7477",),
        noticed_by=("JUDGE-DRAFT-SELECTED", "JUDGE-DRAFT-CLOSED"),
        place=lambda: on_function(draft, "best_in_order", _last_nodes),
    ),
    Fault(
        id="F-TREE-13",
        name="score-not-accumulated",
        about="A node's log-probability is that of its own token, without those of its parents.",
        stage="draft",
        seen_in=("vllm#7627",),
        noticed_by=("JUDGE-DRAFT-COPIES", "DRAFT002"),
        place=lambda: after("draft", _not_accumulated),
    ),
)
