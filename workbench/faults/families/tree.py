"""Faults of the drafted tree: parents, order, siblings, candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from tracing.settings import DecodeSettings
from tracing.stages import BeamSearch, Drafted, IntArray, Tensorized
from workbench.faults.edits import deep_node, poked_parent
from workbench.faults.fault import fault
from workbench.faults.placement import Scene, on_function, once_per_run
from workbench.fused.drafters import search

Scored = tuple[torch.Tensor, torch.Tensor]
Candidates = Callable[[Any, torch.Tensor, int], Scored]
Ranked = Callable[[torch.Tensor, int], Scored]

CANDIDATES: Final = on_function(search, "_candidates")


def _search(made: Drafted) -> BeamSearch:
    search = made.beam_search()
    assert search is not None  # the drafter under these faults searches
    return search


def _renumbered(made: Drafted, order: IntArray, parents: IntArray) -> Drafted:
    """Return the nodes `order` of a tree, the root first, with the parents given for them."""
    search = _search(made)
    return replace(
        made,
        token_ids=made.token_ids[order],
        parents=parents,
        depths=search.depths[order],
        logprobs=search.logprobs[order],
        flat_ids=search.flat_ids[order[1:] - 1],
    )


draft_fault: Final = partial(fault, stage="draft")
end_fault: Final = partial(
    draft_fault, noticed_by=("JUDGE-DRAFT-LEVELS",), need="bounded", placed=on_function(search, "ended")
)


@draft_fault(
    "F-TREE-01",
    "eagle topK_genrate: searchsorted without the check that the parent was found",
    noticed_by=("JUDGE-DRAFT-PARENTS",),
)
def wrong_parent(made: Drafted, _: Scene) -> Any:
    """A node of depth 2 is given another node of depth 1 as its parent."""
    return poked_parent(made)


@draft_fault("F-TREE-02", "sgl#7477", "sgl#8409", noticed_by=("JUDGE-DRAFT-CLOSED", "JUDGE-DRAFT-SELECTED"))
def orphan_kept(made: Drafted, _: Scene) -> Drafted:
    """A node is dropped and its children stay, below whichever node takes its place.

    A binary search for the parent finds the node that now has its number.
    """
    lost = int(made.parents[deep_node(made)])
    kept = np.flatnonzero(np.arange(len(made.parents)) != lost)
    parents = np.where(made.parents > lost, made.parents - 1, made.parents)[kept]
    return _renumbered(made, kept, np.minimum(parents, len(kept) - 1))


@draft_fault(
    "F-TREE-03",
    "eagle commit 80cd31e",
    noticed_by=("JUDGE-DRAFT-ORDER", "JUDGE-DRAFT-SCORES"),
    placed=CANDIDATES,
)
def duplicate_sibling(original: Candidates, engine: Any, logits: torch.Tensor, top_k: int) -> Scored:
    """The second candidate of every beam is its first one again."""
    scores, token_ids = original(engine, logits, top_k)
    token_ids[:, 1] = token_ids[:, 0]
    return scores, token_ids


@draft_fault("F-TREE-04", "eagle commit b09a256", noticed_by=("JUDGE-DRAFT-ASCENDING",))
def nodes_by_score(made: Drafted, _: Scene) -> Drafted:
    """Nodes are numbered best first, not by flat candidate number."""
    order = np.append(0, 1 + np.argsort(-_search(made).logprobs[1:], kind="stable"))
    return _renumbered(made, order, np.argsort(order)[made.parents[order]])


@draft_fault("F-TREE-05", "sgl#27360", noticed_by=("JUDGE-DRAFT-CANDIDATES",), placed=CANDIDATES)
def best_candidate_skipped(original: Candidates, engine: Any, logits: torch.Tensor, top_k: int) -> Scored:
    """A slice is shifted by one, and the best candidate of every beam is never proposed."""
    scores, token_ids = original(engine, logits, top_k + 1)
    return scores[:, 1:].contiguous(), token_ids[:, 1:].contiguous()


@draft_fault(
    "F-TREE-06", "va#12262", noticed_by=("JUDGE-DRAFT-CANDIDATES", "JUDGE-DRAFT-SCORES"), placed=CANDIDATES
)
def drafts_all_alike(original: Candidates, engine: Any, logits: torch.Tensor, top_k: int) -> Scored:
    """Candidates of all beams are computed from the last beam's row."""
    return original(engine, logits[-1:].expand_as(logits), top_k)


@draft_fault(
    "F-TREE-07",
    "va#10878",
    "va#14236",
    "sgl#15399",
    noticed_by=("JUDGE-DRAFT-ORDER", "JUDGE-DRAFT-CANDIDATES", "JUDGE-DRAFT-SCORES"),
    placed=once_per_run(CANDIDATES),
)
def buffer_of_the_level_before() -> Callable[..., Scored]:
    """All draft levels share one buffer for token ids, and the level before is read from it.

    The third level is the first to show it.
    """
    kept: list[torch.Tensor] = []

    def stale(original: Candidates, engine: Any, logits: torch.Tensor, top_k: int) -> Scored:
        scores, token_ids = original(engine, logits, top_k)
        if len(token_ids) == 1:
            kept.clear()
            return scores, token_ids
        kept.append(token_ids)
        return scores, kept[max(len(kept) - 2, 0)]

    return stale


@fault(
    "F-TREE-08",
    "pie-project/pie#197",
    stage="tensorize",
    noticed_by=("TREE004", "TREE007", "JUDGE-TENSORIZE-PARENTS"),
)
def parent_renamed(made: Tensorized, _: Scene) -> Any:
    """The arrays name another parent than the draft; visibility is still built from the right one."""
    return poked_parent(made)


@fault("F-TREE-09", "medusa#63", stage="tensorize", noticed_by=("TREE002", "JUDGE-TENSORIZE-DEPTHS"))
def depth_clipped(made: Tensorized, _: Scene) -> Tensorized:
    """Depths beyond 1 are written as 1."""
    return replace(made, depths=np.minimum(made.depths, 1))


@fault(
    "F-TREE-10",
    "medusa utils.py, retrieve_indices padded with -1",
    "va#10043",
    stage="tensorize",
    noticed_by=("JUDGE-TENSORIZE-VISIBLE",),
)
def minus_one_read_as_last(made: Tensorized, _: Scene) -> Tensorized:
    """The walk to the root follows its parent -1, which an index reads as the last node."""
    visible = made.visible.copy()
    visible[made.valid, -1] = True
    return replace(made, visible=visible)


@draft_fault(
    "F-TREE-11", "sgl#8409", noticed_by=("JUDGE-DRAFT-BEAMS",), placed=on_function(search, "stable_top_k")
)
def second_best_beams(original: Ranked, scores: torch.Tensor, k: int) -> Scored:
    """Beams are kept from the second-best candidates of a level."""
    if len(scores) > 1 or scores.shape[1] != k * k:
        return original(scores, k)
    values, indices = original(scores, 2 * k)
    return values[:, k:].contiguous(), indices[:, k:].contiguous()


@draft_fault(
    "F-TREE-12",
    "sgl#7477",
    noticed_by=("JUDGE-DRAFT-SELECTED", "JUDGE-DRAFT-CLOSED"),
    placed=on_function(search, "best_in_order"),
)
def latest_candidates_selected(_: Any, scores: Any, num_kept: int) -> Any:
    """The tree is made of the last candidates instead of the best ones."""
    return np.arange(len(scores))[-num_kept:]


@draft_fault("F-TREE-13", "vllm#7627", noticed_by=("JUDGE-DRAFT-COPIES", "DRAFT002"))
def score_not_accumulated(made: Drafted, _: Scene) -> Drafted:
    """A node's log-probability is that of its own token, without those of its parents."""
    scores = _search(made).logprobs
    own = scores - np.where(made.parents > 0, scores[made.parents], 0)
    return replace(made, logprobs=own.astype(np.float32))


@end_fault("F-TREE-18", "graphs that hold every level")
def search_never_ended(*_: Any) -> bool:
    """All levels are in one compiled graph, which no bound can leave."""
    return False


@end_fault("F-TREE-19", "beams that are not sorted")
def search_ended_by_its_worst_beam(_: Any, scores: torch.Tensor, settings: DecodeSettings) -> bool:
    """The bound is compared with the last beam, which is not the best one."""
    return float(scores[-1]) < settings.stop_score
