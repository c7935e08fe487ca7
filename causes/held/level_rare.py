"""Rarer mistakes of the level port: in one place, late, through the state, in what it tells of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causes.held.level import mistake
from causes.level.port import bend


@mistake("logits")
def one_logit_of_a_late_node(port: Any) -> None:
    def late(right: Any, logits: Tensor) -> Any:
        made = right(logits).clone()
        made[-2, 5] += 6.0
        return made

    bend(port, "tree_logits", late)


@mistake("cache")
def verify_writes_into_the_committed_rows(port: Any) -> None:
    def written(right: Any, state: Any, tree: Any) -> Any:
        made = right(state, tree)
        state.main[:, :, :, state.length - 1] = state.main[:, :, :, state.length]
        return made

    bend(port, "verify", written)


@mistake("cache")
def draft_clears_a_committed_row(port: Any) -> None:
    def cleared(right: Any, state: Any) -> Any:
        state.main[0, 0, :, 1] = 0.0
        return right(state)

    bend(port, "draft", cleared)


@mistake("cache")
def tensorize_doubles_a_value(port: Any) -> None:
    def doubled(right: Any, state: Any, drafted: Any) -> Any:
        state.main[-1, 1, :, state.length - 1] *= 2
        return right(state, drafted)

    bend(port, "tensorize", doubled)


@mistake("form")
def accept_changes_the_parents(port: Any) -> None:
    def changed(right: Any, state: Any, tree: Any, *rest: Any) -> Any:
        made = right(state, tree, *rest)
        tree.parents[-1] = 0
        return made

    bend(port, "accept", changed)


@mistake("form")
def prefix_said_to_be_lost(port: Any) -> None:
    bend(port, "commit", lambda right, *given: replace(right(*given), prefix_kept=False))


@mistake("commit")
def length_told_one_short(port: Any) -> None:
    port.reported_length = lambda state: state.length - 1


@mistake("features")
def features_of_a_sibling_where_none_is_accepted(port: Any) -> None:
    port.path_features = lambda _state, verified, path: verified.features[path if len(path) > 1 else [1]]


@mistake("positions")
def deep_nodes_one_further_from_ten_on(port: Any) -> None:
    def late(right: Any, state: Any, depths: Any) -> Any:
        return right(state, depths) + ((state.length > 10) & (depths == depths.max()))

    bend(port, "tree_positions", late)


@mistake("positions")
def prompt_from_position_one(port: Any) -> None:
    def prompt(right: Any, cache: Tensor, tokens: Tensor, positions: Tensor, bias: Tensor) -> Any:
        return right(cache, tokens, positions + int(positions[0] == 0), bias)

    bend(port, "run_teacher", prompt)


@mistake("mask")
def ancestors_see_their_descendants(port: Any) -> None:
    bend(port, "ancestors", lambda right, *given: right(*given) | right(*given).T)


@mistake("mask")
def siblings_see_each_other(port: Any) -> None:
    def siblings(right: Any, parents: Tensor, valid: Tensor) -> Any:
        alike = (parents[:, None] == parents[None, :]) & valid[:, None] & valid[None, :]
        alike[0, :] = alike[:, 0] = False
        return right(parents, valid) | alike

    bend(port, "ancestors", siblings)


@mistake("tree")
def beams_by_rounded_score(port: Any) -> None:
    bend(port, "best_beams", lambda right, scores: right(scores.round()))


@mistake("tokens")
def beams_fed_in_reverse(port: Any) -> None:
    bend(port, "beam_tokens", lambda right, tokens: right(tokens).flip(0))


@mistake("tokens")
def first_root_is_the_second_best(port: Any) -> None:
    port.first_root = lambda logits: int(logits[-1].topk(2).indices[1])


@mistake("tokens")
def token_ids_clamped_in_the_tree(port: Any) -> None:
    def clamped(right: Any, cache: Tensor, tokens: Tensor, *rest: Any) -> Any:
        tree = len(tokens) == port.settings.tree_nodes
        return right(cache, tokens.clamp(max=40) if tree else tokens, *rest)

    bend(port, "run_teacher", clamped)


@mistake("rotary")
def angles_in_half_precision(port: Any) -> None:
    def half(right: Any, *given: Any) -> Any:
        return tuple(table.half().to(table.dtype) for table in right(*given))

    bend(port, "angles", half)


@mistake("kernel")
def drafter_mlp_left_out(port: Any) -> None:
    bend(
        port,
        "gated",
        lambda right, x, weights, name: right(x, weights, name) * (0.0 if name == "midlayer.mlp" else 1.0),
    )


@mistake("kernel")
def bias_of_the_values_left_out(port: Any) -> None:
    def without(right: Any, x: Tensor, weights: Any, name: str) -> Any:
        if not name.endswith("v_proj"):
            return right(x, weights, name)
        return right(x, {each: made for each, made in weights.items() if not each.endswith("bias")}, name)

    bend(port, "linear", without)


@mistake("features")
def taps_interleaved(port: Any) -> None:
    def mixed(right: Any, entering: Any) -> Any:
        rows = right(entering)
        return torch.stack(rows.chunk(3, dim=-1), dim=-1).flatten(1)

    bend(port, "tapped", mixed)


@mistake("features")
def beams_continue_from_twice_the_hidden_row(port: Any) -> None:
    bend(port, "beam_hidden", lambda right, *given: right(*given) * 2)


@mistake("dtype")
def logprobs_in_bfloat16(port: Any) -> None:
    bend(port, "draft_logprobs", lambda right, last: right(last).bfloat16().float())


@mistake("dtype")
def tree_features_in_half_precision(port: Any) -> None:
    bend(port, "tree_features", lambda right, rows: right(rows).half().to(rows.dtype))


@mistake("scores")
def probabilities_added_to_logprobs(port: Any) -> None:
    bend(port, "beam_scores", lambda right, scores: right(scores).exp())


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


@mistake("accept")
def limit_reached_is_not_told(port: Any) -> None:
    def cut(right: Any, emitted: list[int], remaining: int) -> Any:
        made, reason = right(emitted, remaining)
        return made, None if len(made) == remaining else reason

    bend(port, "cut", cut)
