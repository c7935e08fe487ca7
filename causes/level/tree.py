"""Mistakes of the level port in the search and the tree it gives; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from causes.level.port import mistake
from causes.mistake import bend


@mistake("tree")
def beams_worst_first(port: Any) -> None:
    bend(port, "best_beams", lambda right, scores: (-scores).topk(port.settings.top_k).indices)


@mistake("tree")
def one_beam_too_far_down(port: Any) -> None:
    def other(right: Any, scores: Tensor) -> Any:
        order = scores.argsort(descending=True)
        return torch.cat(
            [order[: port.settings.top_k - 1], order[port.settings.top_k : port.settings.top_k + 1]]
        )

    bend(port, "best_beams", other)


@mistake("tree")
def beam_kept_twice(port: Any) -> None:
    bend(port, "best_beams", lambda right, scores: right(scores)[[0, 0, *range(2, port.settings.top_k)]])


@mistake("tree")
def nodes_in_order_of_score(port: Any) -> None:
    port.best_nodes = lambda scores: scores.topk(port.settings.tree_nodes - 1).indices


@mistake("tree")
def best_node_left_out(port: Any) -> None:
    def fewer(right: Any, scores: Tensor) -> Any:
        order = scores.argsort(descending=True)[1 : port.settings.tree_nodes]
        return order.sort().values

    bend(port, "best_nodes", fewer)


@mistake("tree")
def last_node_of_another_rank(port: Any) -> None:
    def other(right: Any, scores: Tensor) -> Any:
        order, count = scores.argsort(descending=True), port.settings.tree_nodes - 1
        return torch.cat([order[: count - 1], order[count : count + 1]]).sort().values

    bend(port, "best_nodes", other)


@mistake("tree")
def first_nodes_instead_of_best(port: Any) -> None:
    port.best_nodes = lambda scores: torch.arange(port.settings.tree_nodes - 1)


mistake.add(
    "parents", "parents-one-too-low", "node_parents", lambda right, *given: (right(*given) - 1).clamp(min=0)
)
mistake.add("parents", "all-under-the-root", "node_parents", lambda right, *given: right(*given) * 0)


@mistake.bends("parents", "node_parents")
def one_parent_its_sibling(right: Any, *given: Any) -> Any:
    made = right(*given).clone()
    deep = int(torch.nonzero(made > 0)[0, 0])
    made[deep] = made[deep] % 3 + 1 if made[deep] % 3 + 1 != made[deep] else 2
    return made


@mistake("parents")
def parents_are_beam_ranks(port: Any) -> None:
    def ranks(right: Any, chosen: Tensor, above: Tensor) -> Any:
        return torch.where(above[chosen] < 0, 0, above[chosen] % port.settings.top_k + 1)

    bend(port, "node_parents", ranks)


@mistake("parents")
def beams_extend_the_wrong_parent(port: Any) -> None:
    port.parent_beams = lambda kept: kept % port.settings.top_k


mistake.add("form", "depths-one-too-deep", "selected", lambda right, *given: _deeper(right(*given)))


def _deeper(made: Any) -> Any:
    depths = made.depths.copy()
    depths[1:] += 1
    return replace(made, depths=depths)
