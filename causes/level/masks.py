"""Mistakes of the level port in who attends to whom in the tree; each name says what it does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from causes.level.port import bend, mistake


@mistake("mask")
def polarity_inverted(port: Any) -> None:
    bend(port, "ancestors", lambda right, parents, valid: ~right(parents, valid))


@mistake("mask")
def transposed(port: Any) -> None:
    bend(port, "ancestors", lambda right, parents, valid: right(parents, valid).T.contiguous())


@mistake("mask")
def plainly_causal(port: Any) -> None:
    port.ancestors = lambda parents, valid: torch.ones(len(parents), len(parents), dtype=torch.bool).tril()


@mistake("mask")
def only_the_parent(port: Any) -> None:
    def near(right: Any, parents: Tensor, valid: Tensor) -> Any:
        made = torch.eye(len(parents), dtype=torch.bool)
        made[torch.arange(len(parents)), parents] = True
        return made & right(parents, valid)

    bend(port, "ancestors", near)


@mistake("mask")
def root_column_missing(port: Any) -> None:
    def without(right: Any, parents: Tensor, valid: Tensor) -> Any:
        made = right(parents, valid)
        made[1:, 0] = False
        return made

    bend(port, "ancestors", without)


@mistake("mask")
def self_missing(port: Any) -> None:
    bend(
        port, "ancestors", lambda right, parents, valid: right(parents, valid) & ~torch.eye(len(valid)).bool()
    )


@mistake("mask")
def one_sibling_leaks(port: Any) -> None:
    def leaking(right: Any, parents: Tensor, valid: Tensor) -> Any:
        made = right(parents, valid)
        made[3, 2] = True
        return made

    bend(port, "ancestors", leaking)


@mistake("mask")
def inverted_at_the_call(port: Any) -> None:
    def turned(right: Any, visible: Tensor) -> Any:
        length = visible.shape[1] - visible.shape[0]
        return right(torch.cat([visible[:, :length], ~visible[:, length:]], dim=1))

    bend(port, "tree_bias", turned)


@mistake("mask")
def causal_at_the_call(port: Any) -> None:
    def causal(right: Any, visible: Tensor) -> Any:
        length = visible.shape[1] - visible.shape[0]
        return right(torch.ones_like(visible).tril(length))

    bend(port, "tree_bias", causal)


@mistake("mask")
def prefix_row_hidden(port: Any) -> None:
    def hidden(right: Any, visible: Tensor) -> Any:
        made = visible.clone()
        made[4, 0] = False
        return right(made)

    bend(port, "tree_bias", hidden)


@mistake("mask")
def kernel_ignores_the_mask(port: Any) -> None:
    """What is read back is right; attention sees every row of the tree."""

    def blind(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
        if len(bias) == port.settings.tree_nodes and bias.shape[1] > len(bias):
            bias = bias.nan_to_num(neginf=0.0)
        return right(query, key, value, bias)

    bend(port, "attention", blind)


@mistake("mask")
def kernel_drops_one_ancestor(port: Any) -> None:
    def short(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
        if len(bias) == port.settings.tree_nodes and bias.shape[1] > len(bias):
            bias = bias.clone()
            start = bias.shape[1] - len(bias)
            deep = next(row for row in range(1, len(bias)) if int((bias[row, start:] == 0).sum()) > 2)
            own = torch.nonzero(bias[deep, start:] == 0)[1, 0]
            bias[deep, start + own] = -torch.inf
        return right(query, key, value, bias)

    bend(port, "attention", short)


@mistake("mask")
def kernel_hides_the_root(port: Any) -> None:
    def short(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
        if len(bias) == port.settings.tree_nodes and bias.shape[1] > len(bias):
            bias = bias.clone()
            bias[1:, bias.shape[1] - len(bias)] = -torch.inf
        return right(query, key, value, bias)

    bend(port, "attention", short)
