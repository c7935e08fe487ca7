"""Mistakes of the level port in its models, masks and caches; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from causes.held.level import mistake
from causes.mistake import bend


@mistake.bends("mask", "tree_bias")
def tree_attends_as_a_sequence(right: Any, visible: Tensor) -> Any:
    rows = len(visible)
    made = visible.clone()
    made[:, -rows:] = torch.ones(rows, rows, dtype=torch.bool).tril()
    return right(made)


@mistake.bends("mask", "tree_bias")
def last_committed_row_hidden(right: Any, visible: Tensor) -> Any:
    made = visible.clone()
    made[:, -len(visible) - 1] = False
    return right(made)


mistake.add(
    "mask", "hidden-keys-only-weakened", "tree_bias", lambda right, visible: right(visible).clamp(min=-3.0)
)


@mistake.bends("mask", "drafter_place")
def beams_blind_for_the_first_row(right: Any, state: Any, positions: Tensor, start: int, bias: Tensor) -> Any:
    made = bias.clone()
    if start != state.drafted or state.drafted == state.length:
        made[:, 0] = -torch.inf
    return right(state, positions, start, made)


mistake.add("rotary", "turned-backwards", "rotate", lambda right, heads, cos, sin: right(heads, cos, -sin))


@mistake.bends("rotary", "rotate")
def only_half_of_a_head_turned(right: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Any:
    width = heads.shape[-1] // 2
    return torch.cat([right(heads, cos, sin)[..., :width], heads[..., width:]], dim=-1)


@mistake("rotary")
def drafter_with_another_base(port: Any) -> None:
    def place(right: Any, state: Any, positions: Tensor, start: int, bias: Tensor) -> Any:
        config = port.pair.drafter
        return replace(
            right(state, positions, start, bias), at=port.angles(positions, 500000.0, config.head_dim)
        )

    bend(port, "drafter_place", place)


mistake.add(
    "commit",
    "values-stay-where-they-are",
    "gather",
    lambda right, cache, length, rows: right(cache[:, :1], length, rows),
)
mistake.add(
    "commit",
    "last-layer-alone-is-gathered",
    "gather",
    lambda right, cache, length, rows: right(cache[-1:], length, rows),
)


@mistake.bends("commit", "gather")
def moved_from_the_back(right: Any, cache: Tensor, length: int, rows: Tensor) -> None:
    for place in reversed(range(len(rows))):
        cache[:, :, :, length + place] = cache[:, :, :, rows[place]].clone()


mistake.add(
    "cache",
    "second-head-not-written",
    "write",
    lambda right, cache, start, key, value: right(cache[:, :1], start, key[:1], value[:1]),
)
mistake.add(
    "cache",
    "key-heads-reversed",
    "write",
    lambda right, cache, start, key, value: right(cache, start, key.flip(0), value),
)
mistake.add(
    "features",
    "taps-behind-their-layers",
    "tapped",
    lambda right, entering: right([*entering[1:], entering[-1]]),
)
mistake.add(
    "features",
    "middle-tap-twice",
    "tapped",
    lambda right, entering: right([*entering[:2], entering[1], *entering[3:]]),
)
mistake.add(
    "features", "features-one-row-late", "drafter_features", lambda right, state: right(state).roll(1, 0)
)
mistake.add(
    "logits",
    "logits-capped-softly",
    "tree_logits",
    lambda right, logits: 5.0 * torch.tanh(right(logits) / 5.0),
)
mistake.add(
    "logits", "logits-of-the-next-row", "tree_logits", lambda right, logits: right(logits).roll(-1, 0)
)
mistake.add("logits", "choice-without-the-first-token", "choices", lambda right, logits: right(logits[:, 1:]))


@mistake("scores")
def shares_of_the_best_alone(port: Any) -> None:
    def among(right: Any, last: Tensor) -> Any:
        rows = right(last)
        return rows - rows.topk(port.settings.top_k).values.logsumexp(-1, keepdim=True)

    bend(port, "draft_logprobs", among)


mistake.add("scores", "scores-per-token", "beam_scores", lambda right, scores: right(scores) / 2)
mistake.add(
    "scores", "temperature-of-two", "draft_logprobs", lambda right, last: (right(last) / 2).log_softmax(-1)
)
mistake.add(
    "dtype", "logprobs-in-half-precision", "draft_logprobs", lambda right, last: right(last).half().float()
)
mistake.add(
    "dtype",
    "keys-kept-in-half-precision",
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


mistake.add("kernel", "eps-a-hundred-times", "norm", lambda right, x, scale, eps: right(x, scale, eps * 100))


@mistake.bends("kernel", "attention")
def key_heads_tiled(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
    group = query.shape[0] // key.shape[0]
    return right(query, key.repeat(group, 1, 1), value.repeat(group, 1, 1), bias)


@mistake.bends("kernel", "attention")
def heads_not_transposed_back(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
    rows, heads = query.shape[1], query.shape[0]
    return right(query, key, value, bias).view(rows, heads, -1).transpose(0, 1).reshape(rows, -1)


mistake.add(
    "kernel", "scale-of-twice-the-width", "scale", lambda _, query: float((2 * query.shape[-1]) ** -0.5)
)
