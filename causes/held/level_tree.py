"""Mistakes of the level port in its tree, its positions and its acceptance; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causes.held.level import mistake
from causes.level.port import bend


@mistake("tree")
def best_candidate_of_each_beam_goes_on(port: Any) -> None:
    def each(right: Any, scores: Tensor) -> Any:
        top_k = port.settings.top_k
        return right(scores) if len(scores) == top_k else torch.arange(len(scores) // top_k) * top_k

    bend(port, "best_beams", each)


@mistake("parents")
def beam_by_remainder(port: Any) -> None:
    port.parent_beams = lambda kept: kept % port.settings.top_k


@mistake("parents")
def searched_from_the_right(port: Any) -> None:
    def found(right: Any, chosen: Tensor, above: Tensor) -> Any:
        made = right(chosen, above)
        return torch.where(made > 0, (made + 1).clamp(max=len(chosen)), made)

    bend(port, "node_parents", found)


@mistake("tree")
def depths_from_nought(port: Any) -> None:
    def lower(right: Any, *given: Any) -> Any:
        made = right(*given)
        return replace(made, depths=np.maximum(made.depths - 1, 0))

    bend(port, "selected", lower)


@mistake("positions")
def positions_end_at_depth_two(port: Any) -> None:
    port.tree_positions = lambda state, depths: state.length + np.minimum(depths, 2)


@mistake("positions")
def positions_wrap_at_sixteen(port: Any) -> None:
    port.tree_positions = lambda state, depths: (state.length + depths) % 16


@mistake("mask")
def ancestors_up_to_the_parent(port: Any) -> None:
    def near(right: Any, parents: Tensor, valid: Tensor) -> Any:
        made = right(parents, valid)
        step = torch.eye(len(parents), dtype=torch.bool)
        step[torch.arange(len(parents)), parents] = True
        return made & step

    bend(port, "ancestors", near)


@mistake("tokens")
def final_token_after_the_parent(port: Any) -> None:
    port.final_token = lambda choices, path: int(choices[path[-2:][0]])


@mistake("accept", need="eos")
def cut_before_the_end_token(port: Any) -> None:
    def cut(right: Any, emitted: list[int], remaining: int) -> Any:
        made, reason = right(emitted, remaining)
        return (made[:-1] or made, reason) if reason == "eos" else (made, reason)

    bend(port, "cut", cut)


@mistake("accept")
def remaining_counts_the_root(port: Any) -> None:
    bend(port, "cut", lambda right, emitted, remaining: right(emitted, max(remaining - 1, 1)))


@mistake("tokens")
def draft_below_the_last_committed(port: Any) -> None:
    port.draft_root = lambda state: state.tokens[-1]


@mistake("d2t")
def map_added_to_the_id(port: Any) -> None:
    bend(port, "target_ids", lambda right, ids: (right(ids) + ids) % port.pair.teacher.vocab_size)


@mistake("d2t")
def map_clamped(port: Any) -> None:
    bend(port, "target_ids", lambda right, ids: right(ids).clamp(max=31))


@mistake("tree")
def one_node_too_few(port: Any) -> None:
    def short(right: Any, scores: Tensor) -> Any:
        made = right(scores)
        return made[made != made[scores[made].argmin()]]

    bend(port, "best_nodes", short)


@mistake("accept", need="eos")
def end_token_seen_in_the_last_place_alone(port: Any) -> None:
    def cut(right: Any, emitted: list[int], remaining: int) -> Any:
        if emitted[:remaining][-1] in port.pair.eos_token_ids:
            return right(emitted, remaining)
        return emitted[:remaining], "length" if len(emitted) >= remaining else None

    bend(port, "cut", cut)


@mistake("accept")
def compared_with_the_grandparents_choice(port: Any) -> None:
    bend(port, "walk", lambda right, tree, choices: right(tree, choices[tree.parents]))


@mistake("accept")
def path_of_one_draft_at_most(port: Any) -> None:
    bend(port, "walk", lambda right, *given: right(*given)[:2])


@mistake("tokens")
def next_root_is_the_first_emitted(port: Any) -> None:
    port.next_root = lambda accepted: int(accepted.emitted_token_ids[0])
