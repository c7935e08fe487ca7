"""Rarer mistakes of the level port: in one place, late, through the state, in what it tells of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causes.held.level import mistake
from causes.mistake import bend


@mistake.bends("logits", "tree_logits")
def one_logit_of_a_late_node(right: Any, logits: Tensor) -> Any:
    made = right(logits).clone()
    made[-2, 5] += 6.0
    return made


@mistake.bends("cache", "verify")
def verify_writes_into_the_committed_rows(right: Any, state: Any, tree: Any) -> Any:
    made = right(state, tree)
    state.main[:, :, :, state.length - 1] = state.main[:, :, :, state.length]
    return made


@mistake.bends("cache", "draft")
def draft_clears_a_committed_row(right: Any, state: Any) -> Any:
    state.main[0, 0, :, 1] = 0.0
    return right(state)


@mistake.bends("cache", "tensorize")
def tensorize_doubles_a_value(right: Any, state: Any, drafted: Any) -> Any:
    state.main[-1, 1, :, state.length - 1] *= 2
    return right(state, drafted)


@mistake.bends("form", "accept")
def accept_changes_the_parents(right: Any, state: Any, tree: Any, *rest: Any) -> Any:
    made = right(state, tree, *rest)
    tree.parents[-1] = 0
    return made


mistake.add(
    "form",
    "prefix-said-to-be-lost",
    "commit",
    lambda right, *given: replace(right(*given), prefix_kept=False),
)
mistake.add("commit", "length-told-one-short", "reported_length", lambda _, state: state.length - 1)
mistake.add(
    "features",
    "features-of-a-sibling-where-none-is-accepted",
    "path_features",
    lambda _, _state, verified, path: verified.features[path if len(path) > 1 else [1]],
)


@mistake.bends("positions", "tree_positions")
def deep_nodes_one_further_from_ten_on(right: Any, state: Any, depths: Any) -> Any:
    return right(state, depths) + ((state.length > 10) & (depths == depths.max()))


@mistake.bends("positions", "run_teacher")
def prompt_from_position_one(
    right: Any, cache: Tensor, tokens: Tensor, positions: Tensor, bias: Tensor
) -> Any:
    return right(cache, tokens, positions + int(positions[0] == 0), bias)


mistake.add(
    "mask",
    "ancestors-see-their-descendants",
    "ancestors",
    lambda right, *given: right(*given) | right(*given).T,
)


@mistake.bends("mask", "ancestors")
def siblings_see_each_other(right: Any, parents: Tensor, valid: Tensor) -> Any:
    alike = (parents[:, None] == parents[None, :]) & valid[:, None] & valid[None, :]
    alike[0, :] = alike[:, 0] = False
    return right(parents, valid) | alike


mistake.add("tree", "beams-by-rounded-score", "best_beams", lambda right, scores: right(scores.round()))
mistake.add("tokens", "beams-fed-in-reverse", "beam_tokens", lambda right, tokens: right(tokens).flip(0))
mistake.add(
    "tokens",
    "first-root-is-the-second-best",
    "first_root",
    lambda _, logits: int(logits[-1].topk(2).indices[1]),
)


@mistake("tokens")
def token_ids_clamped_in_the_tree(port: Any) -> None:
    def clamped(right: Any, cache: Tensor, tokens: Tensor, *rest: Any) -> Any:
        tree = len(tokens) == port.settings.tree_nodes
        return right(cache, tokens.clamp(max=40) if tree else tokens, *rest)

    bend(port, "run_teacher", clamped)


@mistake.bends("rotary", "angles")
def angles_in_half_precision(right: Any, *given: Any) -> Any:
    return tuple(table.half().to(table.dtype) for table in right(*given))


mistake.add(
    "kernel",
    "drafter-mlp-left-out",
    "gated",
    lambda right, x, weights, name: right(x, weights, name) * (0.0 if name == "midlayer.mlp" else 1.0),
)


@mistake.bends("kernel", "linear")
def bias_of_the_values_left_out(right: Any, x: Tensor, weights: Any, name: str) -> Any:
    if not name.endswith("v_proj"):
        return right(x, weights, name)
    return right(x, {each: made for each, made in weights.items() if not each.endswith("bias")}, name)


@mistake.bends("features", "tapped")
def taps_interleaved(right: Any, entering: Any) -> Any:
    rows = right(entering)
    return torch.stack(rows.chunk(3, dim=-1), dim=-1).flatten(1)


mistake.add(
    "features",
    "beams-continue-from-twice-the-hidden-row",
    "beam_hidden",
    lambda right, *given: right(*given) * 2,
)
mistake.add(
    "dtype", "logprobs-in-bfloat16", "draft_logprobs", lambda right, last: right(last).bfloat16().float()
)
mistake.add(
    "dtype",
    "tree-features-in-half-precision",
    "tree_features",
    lambda right, rows: right(rows).half().to(rows.dtype),
)
mistake.add(
    "scores", "probabilities-added-to-logprobs", "beam_scores", lambda right, scores: right(scores).exp()
)


@mistake("accept")
def path_jumps_between_branches(port: Any) -> None:
    def walk(tree: Any, choices: Any) -> list[int]:
        fits = (tree.token_ids == choices[tree.parents]) & tree.valid
        path = [0]
        for depth in range(1, int(tree.depths.max()) + 1):
            below = np.flatnonzero(fits & (tree.depths == depth))
            if not below.size:
                break
            path.append(int(below[-1]))
        return path

    port.walk = walk


@mistake.bends("accept", "cut")
def limit_reached_is_not_told(right: Any, emitted: list[int], remaining: int) -> Any:
    made, reason = right(emitted, remaining)
    return made, None if len(made) == remaining else reason
