"""Mistakes of the level port in the arrays of a step; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from causes.level.port import added, bend, mistake


@mistake("positions")
def one_node_too_far(port: Any) -> None:
    bend(port, "tree_positions", lambda right, *given: added(right(*given), 3, 1))


@mistake("positions")
def all_one_too_far(port: Any) -> None:
    bend(port, "tree_positions", lambda right, *given: right(*given) + 1)


@mistake("positions")
def positions_by_row(port: Any) -> None:
    port.tree_positions = lambda state, depths: state.length + np.arange(len(depths))


@mistake("positions")
def all_at_the_root(port: Any) -> None:
    port.tree_positions = lambda state, depths: state.length + 0 * depths


@mistake("positions")
def positions_without_the_prefix(port: Any) -> None:
    port.tree_positions = lambda _state, depths: depths


@mistake("positions")
def angles_one_on_in_verify(port: Any) -> None:
    """The launch is right; the kernel's table is read one further on for the tree."""

    def late(right: Any, cache: Tensor, tokens: Tensor, positions: Tensor, bias: Tensor) -> Any:
        return right(cache, tokens, positions + (bias.shape[1] > len(tokens)), bias)

    bend(port, "run_teacher", late)


@mistake("form", need="pads")
def pads_marked_valid(port: Any) -> None:
    port.valid_rows = lambda _count, rows: np.ones(rows, dtype=bool)


@mistake("form")
def last_node_a_pad(port: Any) -> None:
    bend(port, "valid_rows", lambda right, count, rows: right(count - 1, rows))


@mistake("tokens")
def tree_tokens_shifted(port: Any) -> None:
    def shifted(right: Any, state: Any, drafted: Any) -> Any:
        return right(state, replace(drafted, token_ids=np.roll(drafted.token_ids, 1)))

    bend(port, "tensorize", shifted)


@mistake("parents")
def tree_parents_of_the_node_before(port: Any) -> None:
    def shifted(right: Any, state: Any, drafted: Any) -> Any:
        parents = np.append(0, drafted.parents[:-1])
        return right(state, replace(drafted, parents=parents))

    bend(port, "tensorize", shifted)


@mistake("scores")
def tree_scores_of_the_node_before(port: Any) -> None:
    def shifted(right: Any, state: Any, drafted: Any) -> Any:
        return right(state, replace(drafted, logprobs=np.append(0, drafted.logprobs[:-1]).astype(np.float32)))

    bend(port, "tensorize", shifted)


@mistake("stale")
def choices_of_the_step_before(port: Any) -> None:
    kept: list[Tensor] = []

    def late(right: Any, rows: Tensor) -> Any:
        kept.append(right(rows))
        return kept[-2] if len(kept) > 1 else kept[-1]

    bend(port, "choices", late)


@mistake("stale")
def mask_of_the_step_before(port: Any) -> None:
    kept: list[Tensor] = []

    def late(right: Any, parents: Tensor, valid: Tensor) -> Any:
        kept.append(right(parents, valid))
        return kept[-2] if len(kept) > 1 else kept[-1]

    bend(port, "ancestors", late)


@mistake("stale")
def positions_of_the_step_before(port: Any) -> None:
    kept: list[Any] = []

    def late(right: Any, *given: Any) -> Any:
        kept.append(right(*given))
        return kept[-2] if len(kept) > 1 else kept[-1]

    bend(port, "tree_positions", late)
