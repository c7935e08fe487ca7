"""Mistakes of the level port in its models, masks and caches; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from causes.held.level import mistake
from causes.level.port import bend


@mistake("mask")
def tree_attends_as_a_sequence(port: Any) -> None:
    def sequence(right: Any, visible: Tensor) -> Any:
        rows = len(visible)
        made = visible.clone()
        made[:, -rows:] = torch.ones(rows, rows, dtype=torch.bool).tril()
        return right(made)

    bend(port, "tree_bias", sequence)


@mistake("mask")
def last_committed_row_hidden(port: Any) -> None:
    def hidden(right: Any, visible: Tensor) -> Any:
        made = visible.clone()
        made[:, -len(visible) - 1] = False
        return right(made)

    bend(port, "tree_bias", hidden)


@mistake("mask")
def hidden_keys_only_weakened(port: Any) -> None:
    bend(port, "tree_bias", lambda right, visible: right(visible).clamp(min=-3.0))


@mistake("mask")
def beams_blind_for_the_first_row(port: Any) -> None:
    def blind(right: Any, state: Any, positions: Tensor, start: int, bias: Tensor) -> Any:
        made = bias.clone()
        if start != state.drafted or state.drafted == state.length:
            made[:, 0] = -torch.inf
        return right(state, positions, start, made)

    bend(port, "drafter_place", blind)


@mistake("rotary")
def turned_backwards(port: Any) -> None:
    bend(port, "rotate", lambda right, heads, cos, sin: right(heads, cos, -sin))


@mistake("rotary")
def only_half_of_a_head_turned(port: Any) -> None:
    def half(right: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Any:
        width = heads.shape[-1] // 2
        return torch.cat([right(heads, cos, sin)[..., :width], heads[..., width:]], dim=-1)

    bend(port, "rotate", half)


@mistake("rotary")
def drafter_with_another_base(port: Any) -> None:
    def place(right: Any, state: Any, positions: Tensor, start: int, bias: Tensor) -> Any:
        config = port.pair.drafter
        return replace(
            right(state, positions, start, bias), at=port.angles(positions, 500000.0, config.head_dim)
        )

    bend(port, "drafter_place", place)


@mistake("commit")
def values_stay_where_they_are(port: Any) -> None:
    bend(port, "gather", lambda right, cache, length, rows: right(cache[:, :1], length, rows))


@mistake("commit")
def last_layer_alone_is_gathered(port: Any) -> None:
    bend(port, "gather", lambda right, cache, length, rows: right(cache[-1:], length, rows))


@mistake("commit")
def moved_from_the_back(port: Any) -> None:
    def moved(right: Any, cache: Tensor, length: int, rows: Tensor) -> None:
        for place in reversed(range(len(rows))):
            cache[:, :, :, length + place] = cache[:, :, :, rows[place]].clone()

    bend(port, "gather", moved)


@mistake("cache")
def second_head_not_written(port: Any) -> None:
    bend(
        port, "write", lambda right, cache, start, key, value: right(cache[:, :1], start, key[:1], value[:1])
    )


@mistake("cache")
def key_heads_reversed(port: Any) -> None:
    bend(port, "write", lambda right, cache, start, key, value: right(cache, start, key.flip(0), value))


@mistake("features")
def taps_behind_their_layers(port: Any) -> None:
    bend(port, "tapped", lambda right, entering: right([*entering[1:], entering[-1]]))


@mistake("features")
def middle_tap_twice(port: Any) -> None:
    bend(port, "tapped", lambda right, entering: right([*entering[:2], entering[1], *entering[3:]]))


@mistake("features")
def features_one_row_late(port: Any) -> None:
    bend(port, "drafter_features", lambda right, state: right(state).roll(1, 0))


@mistake("logits")
def logits_capped_softly(port: Any) -> None:
    bend(port, "tree_logits", lambda right, logits: 5.0 * torch.tanh(right(logits) / 5.0))


@mistake("logits")
def logits_of_the_next_row(port: Any) -> None:
    bend(port, "tree_logits", lambda right, logits: right(logits).roll(-1, 0))


@mistake("logits")
def choice_without_the_first_token(port: Any) -> None:
    bend(port, "choices", lambda right, logits: right(logits[:, 1:]))


@mistake("scores")
def shares_of_the_best_alone(port: Any) -> None:
    def among(right: Any, last: Tensor) -> Any:
        rows = right(last)
        return rows - rows.topk(port.settings.top_k).values.logsumexp(-1, keepdim=True)

    bend(port, "draft_logprobs", among)


@mistake("scores")
def scores_per_token(port: Any) -> None:
    bend(port, "beam_scores", lambda right, scores: right(scores) / 2)


@mistake("scores")
def temperature_of_two(port: Any) -> None:
    bend(port, "draft_logprobs", lambda right, last: (right(last) / 2).log_softmax(-1))


@mistake("dtype")
def logprobs_in_half_precision(port: Any) -> None:
    bend(port, "draft_logprobs", lambda right, last: right(last).half().float())


@mistake("dtype")
def keys_kept_in_half_precision(port: Any) -> None:
    bend(
        port,
        "write",
        lambda right, cache, start, key, value: right(cache, start, key.half().to(key.dtype), value),
    )


@mistake("stale")
def tokens_of_the_tree_before(port: Any) -> None:
    kept: list[Tensor] = []

    def stale(right: Any, cache: Tensor, tokens: Tensor, positions: Tensor, bias: Tensor) -> Any:
        fits = len(kept) > 0 and len(tokens) == port.settings.tree_nodes
        used = kept[-1] if fits and len(kept[-1]) == len(tokens) else tokens
        kept.append(tokens)
        return right(cache, used, positions, bias)

    bend(port, "run_teacher", stale)


@mistake("stale")
def hidden_rows_of_the_search_before(port: Any) -> None:
    kept: list[Tensor] = []

    def stale(right: Any, hidden: Tensor, parents: Tensor) -> Any:
        made = right(hidden, parents)
        kept.append(made)
        return kept[max(len(kept) - 1 - port.settings.depth, 0)]

    bend(port, "beam_hidden", stale)


@mistake("kernel")
def eps_a_hundred_times(port: Any) -> None:
    bend(port, "norm", lambda right, x, scale, eps: right(x, scale, eps * 100))


@mistake("kernel")
def key_heads_tiled(port: Any) -> None:
    def tiled(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
        group = query.shape[0] // key.shape[0]
        return right(query, key.repeat(group, 1, 1), value.repeat(group, 1, 1), bias)

    bend(port, "attention", tiled)


@mistake("kernel")
def heads_not_transposed_back(port: Any) -> None:
    def flat(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
        rows, heads = query.shape[1], query.shape[0]
        return right(query, key, value, bias).view(rows, heads, -1).transpose(0, 1).reshape(rows, -1)

    bend(port, "attention", flat)


@mistake("kernel")
def scale_of_twice_the_width(port: Any) -> None:
    port.scale = lambda query: float((2 * query.shape[-1]) ** -0.5)
