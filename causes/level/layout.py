"""Mistakes of the level port in the arrays of a step; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from causes.level.port import added, mistake
from causes.mistake import bend_to_the_call_before

mistake.add(
    "positions", "one-node-too-far", "tree_positions", lambda right, *given: added(right(*given), 3, 1)
)
mistake.add("positions", "all-one-too-far", "tree_positions", lambda right, *given: right(*given) + 1)
mistake.add(
    "positions",
    "positions-by-row",
    "tree_positions",
    lambda _, state, depths: state.length + np.arange(len(depths)),
)
mistake.add(
    "positions", "all-at-the-root", "tree_positions", lambda _, state, depths: state.length + 0 * depths
)
mistake.add("positions", "positions-without-the-prefix", "tree_positions", lambda _, _state, depths: depths)


@mistake.bends("positions", "run_teacher")
def angles_one_on_in_verify(
    right: Any, cache: Tensor, tokens: Tensor, positions: Tensor, bias: Tensor
) -> Any:
    """The launch is right; the kernel's table is read one further on for the tree."""
    return right(cache, tokens, positions + (bias.shape[1] > len(tokens)), bias)


mistake.add(
    "form", "pads-marked-valid", "valid_rows", lambda _, _count, rows: np.ones(rows, dtype=bool), need="pads"
)
mistake.add("form", "last-node-a-pad", "valid_rows", lambda right, count, rows: right(count - 1, rows))


@mistake.bends("tokens", "tensorize")
def tree_tokens_shifted(right: Any, state: Any, drafted: Any) -> Any:
    return right(state, replace(drafted, token_ids=np.roll(drafted.token_ids, 1)))


@mistake.bends("parents", "tensorize")
def tree_parents_of_the_node_before(right: Any, state: Any, drafted: Any) -> Any:
    parents = np.append(0, drafted.parents[:-1])
    return right(state, replace(drafted, parents=parents))


@mistake.bends("scores", "tensorize")
def tree_scores_of_the_node_before(right: Any, state: Any, drafted: Any) -> Any:
    return right(state, replace(drafted, logprobs=np.append(0, drafted.logprobs[:-1]).astype(np.float32)))


@mistake("stale")
def choices_of_the_step_before(port: Any) -> None:
    bend_to_the_call_before(port, "choices")


@mistake("stale")
def mask_of_the_step_before(port: Any) -> None:
    bend_to_the_call_before(port, "ancestors")


@mistake("stale")
def positions_of_the_step_before(port: Any) -> None:
    bend_to_the_call_before(port, "tree_positions")
