"""Mistakes of the level port in its tree, its positions and its acceptance; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causes.held.level import mistake
from causes.mistake import bend


@mistake("tree")
def best_candidate_of_each_beam_goes_on(port: Any) -> None:
    def each(right: Any, scores: Tensor) -> Any:
        top_k = port.settings.top_k
        return right(scores) if len(scores) == top_k else torch.arange(len(scores) // top_k) * top_k

    bend(port, "best_beams", each)


@mistake("parents")
def beam_by_remainder(port: Any) -> None:
    port.parent_beams = lambda kept: kept % port.settings.top_k


@mistake.bends("parents", "node_parents")
def searched_from_the_right(right: Any, chosen: Tensor, above: Tensor) -> Any:
    made = right(chosen, above)
    return torch.where(made > 0, (made + 1).clamp(max=len(chosen)), made)


@mistake.bends("tree", "selected")
def depths_from_nought(right: Any, *given: Any) -> Any:
    made = right(*given)
    return replace(made, depths=np.maximum(made.depths - 1, 0))


mistake.add(
    "positions",
    "positions-end-at-depth-two",
    "tree_positions",
    lambda _, state, depths: state.length + np.minimum(depths, 2),
)
mistake.add(
    "positions",
    "positions-wrap-at-sixteen",
    "tree_positions",
    lambda _, state, depths: (state.length + depths) % 16,
)


@mistake.bends("mask", "ancestors")
def ancestors_up_to_the_parent(right: Any, parents: Tensor, valid: Tensor) -> Any:
    made = right(parents, valid)
    step = torch.eye(len(parents), dtype=torch.bool)
    step[torch.arange(len(parents)), parents] = True
    return made & step


mistake.add(
    "tokens",
    "final-token-after-the-parent",
    "final_token",
    lambda _, choices, path: int(choices[path[-2:][0]]),
)


@mistake.bends("accept", "cut", need="eos")
def cut_before_the_end_token(right: Any, emitted: list[int], remaining: int) -> Any:
    made, reason = right(emitted, remaining)
    return (made[:-1] or made, reason) if reason == "eos" else (made, reason)


mistake.add(
    "accept",
    "remaining-counts-the-root",
    "cut",
    lambda right, emitted, remaining: right(emitted, max(remaining - 1, 1)),
)
mistake.add("tokens", "draft-below-the-last-committed", "draft_root", lambda _, state: state.tokens[-1])


@mistake("d2t")
def map_added_to_the_id(port: Any) -> None:
    bend(port, "target_ids", lambda right, ids: (right(ids) + ids) % port.pair.teacher.vocab_size)


mistake.add("d2t", "map-clamped", "target_ids", lambda right, ids: right(ids).clamp(max=31))


@mistake.bends("tree", "best_nodes")
def one_node_too_few(right: Any, scores: Tensor) -> Any:
    made = right(scores)
    return made[made != made[scores[made].argmin()]]


@mistake("accept", need="eos")
def end_token_seen_in_the_last_place_alone(port: Any) -> None:
    def cut(right: Any, emitted: list[int], remaining: int) -> Any:
        if emitted[:remaining][-1] in port.pair.eos_token_ids:
            return right(emitted, remaining)
        return emitted[:remaining], "length" if len(emitted) >= remaining else None

    bend(port, "cut", cut)


mistake.add(
    "accept",
    "compared-with-the-grandparents-choice",
    "walk",
    lambda right, tree, choices: right(tree, choices[tree.parents]),
)
mistake.add("accept", "path-of-one-draft-at-most", "walk", lambda right, *given: right(*given)[:2])
mistake.add(
    "tokens",
    "next-root-is-the-first-emitted",
    "next_root",
    lambda _, accepted: int(accepted.emitted_token_ids[0]),
)
