"""Mistakes of the level port in who attends to whom in the tree; each name says what it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from causes.level.port import mistake
from causes.mistake import bend

mistake.add("mask", "polarity-inverted", "ancestors", lambda right, parents, valid: ~right(parents, valid))
mistake.add(
    "mask", "transposed", "ancestors", lambda right, parents, valid: right(parents, valid).T.contiguous()
)
mistake.add(
    "mask",
    "plainly-causal",
    "ancestors",
    lambda _, parents, valid: torch.ones(len(parents), len(parents), dtype=torch.bool).tril(),
)


@mistake.bends("mask", "ancestors")
def only_the_parent(right: Any, parents: Tensor, valid: Tensor) -> Any:
    made = torch.eye(len(parents), dtype=torch.bool)
    made[torch.arange(len(parents)), parents] = True
    return made & right(parents, valid)


@mistake.bends("mask", "ancestors")
def root_column_missing(right: Any, parents: Tensor, valid: Tensor) -> Any:
    made = right(parents, valid)
    made[1:, 0] = False
    return made


mistake.add(
    "mask",
    "self-missing",
    "ancestors",
    lambda right, parents, valid: right(parents, valid) & ~torch.eye(len(valid)).bool(),
)


@mistake.bends("mask", "ancestors")
def one_sibling_leaks(right: Any, parents: Tensor, valid: Tensor) -> Any:
    made = right(parents, valid)
    made[3, 2] = True
    return made


@mistake.bends("mask", "tree_bias")
def inverted_at_the_call(right: Any, visible: Tensor) -> Any:
    length = visible.shape[1] - visible.shape[0]
    return right(torch.cat([visible[:, :length], ~visible[:, length:]], dim=1))


@mistake.bends("mask", "tree_bias")
def causal_at_the_call(right: Any, visible: Tensor) -> Any:
    length = visible.shape[1] - visible.shape[0]
    return right(torch.ones_like(visible).tril(length))


@mistake.bends("mask", "tree_bias")
def prefix_row_hidden(right: Any, visible: Tensor) -> Any:
    made = visible.clone()
    made[4, 0] = False
    return right(made)


@mistake("mask")
def kernel_ignores_the_mask(port: Any) -> None:
    """What is read back is right; attention sees every row of the tree."""
    _bend_tree_bias(port, lambda bias, _: bias.nan_to_num_(neginf=0.0))


@mistake("mask")
def kernel_drops_one_ancestor(port: Any) -> None:
    def short(bias: Tensor, start: int) -> None:
        deep = next(row for row in range(1, len(bias)) if int((bias[row, start:] == 0).sum()) > 2)
        own = torch.nonzero(bias[deep, start:] == 0)[1, 0]
        bias[deep, start + own] = -torch.inf

    _bend_tree_bias(port, short)


@mistake("mask")
def kernel_hides_the_root(port: Any) -> None:
    def short(bias: Tensor, start: int) -> None:
        bias[1:, start] = -torch.inf

    _bend_tree_bias(port, short)


def _bend_tree_bias(port: Any, change: Callable[[Tensor, int], object]) -> None:
    """Give attention over a tree behind a prefix a copy of its mask, altered by `change(bias, length)`."""

    def bent(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
        start = bias.shape[1] - len(bias)
        if len(bias) == port.settings.tree_nodes and start > 0:
            bias = bias.clone()
            change(bias, start)
        return right(query, key, value, bias)

    bend(port, "attention", bent)
