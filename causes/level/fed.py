"""Mistakes of the level port in what its drafter is fed; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from causes.level.port import in_row, mistake
from causes.mistake import bend, bend_to_the_call_before

mistake.add("d2t", "map-left-out", "target_ids", lambda _, ids: ids)


@mistake("d2t")
def map_read_as_offsets(port: Any) -> None:
    port.target_ids = lambda ids: (ids + port.target_from_draft[ids]) % port.pair.teacher.vocab_size


@mistake("d2t")
def map_off_by_one(port: Any) -> None:
    port.target_from_draft = port.target_from_draft.roll(1)


@mistake("d2t")
def map_applied_twice(port: Any) -> None:
    last = len(port.target_from_draft) - 1
    bend(port, "target_ids", lambda right, ids: right(right(ids).clamp(max=last)))


@mistake("d2t")
def beams_fed_draft_ids(port: Any) -> None:
    """What is kept is right; what the drafter is fed next are ids of its own vocabulary."""
    draft = {int(target): number for number, target in enumerate(port.target_from_draft.tolist())}
    port.beam_tokens = lambda tokens: torch.tensor([draft[int(each)] for each in tokens])


mistake.add(
    "features", "features-of-the-row-before", "drafter_features", lambda right, state: right(state).roll(1, 0)
)


@mistake.bends("features", "drafter_features")
def fc_order_reversed(right: Any, state: Any) -> Any:
    return torch.cat(right(state).chunk(3, dim=-1)[::-1], dim=-1)


@mistake.bends("features", "drafter_features")
def first_tap_twice(right: Any, state: Any) -> Any:
    low, middle, _ = right(state).chunk(3, dim=-1)
    return torch.cat([low, middle, low], dim=-1)


@mistake("features")
def aux_layer_off_by_one(port: Any) -> None:
    def late(_: Any, entering: Any) -> Any:
        layers = [min(layer + 1, len(entering) - 1) for layer in port.pair.drafter.aux_layers]
        return torch.cat([entering[layer] for layer in layers], dim=-1)

    bend(port, "tapped", late)


@mistake("features")
def last_tap_after_the_norm(port: Any) -> None:
    def normed(right: Any, entering: Any) -> Any:
        low, middle, high = right(entering).chunk(3, dim=-1)
        scale = port.teacher["model.norm.weight"]
        return torch.cat([low, middle, port.norm(high, scale, port.pair.teacher.rms_norm_eps)], dim=-1)

    bend(port, "tapped", normed)


mistake.add(
    "features",
    "features-of-the-first-rows",
    "path_features",
    lambda _, _state, verified, path: verified.features[: len(path)],
)
mistake.add(
    "features",
    "features-one-node-on",
    "path_features",
    lambda _, _state, verified, path: verified.features[
        [min(node + 1, len(verified.features) - 1) for node in path]
    ],
)
mistake.add(
    "features",
    "root-features-for-all",
    "path_features",
    lambda _, _state, verified, path: verified.features[[0] * len(path)],
)
mistake.add(
    "features",
    "two-feature-rows-exchanged",
    "tree_features",
    lambda right, rows: right(rows)[[0, 2, 1, *range(3, len(rows))]],
)
mistake.add("features", "feature-row-zero", "tree_features", lambda right, rows: in_row(right(rows), 4, 0.0))
mistake.add(
    "features",
    "feature-row-of-the-parent",
    "tree_features",
    lambda right, rows: in_row(right(rows), 5, right(rows)[0]),
)


@mistake("stale")
def features_of_the_step_before(port: Any) -> None:
    kept: list[Any] = []

    def late(right: Any, state: Any, verified: Any, path: Any) -> Any:
        kept.append(verified)
        return right(state, kept[-2:][0], path)

    bend(port, "path_features", late)


mistake.add(
    "tokens",
    "token-paired-with-its-own-feature",
    "drafter_tokens",
    lambda _, state: state.tokens[state.drafted :],
)
mistake.add(
    "tokens",
    "drafter-fed-the-root-twice",
    "drafter_tokens",
    lambda right, state: [*right(state)[:-2], state.root, state.root],
)
mistake.add(
    "tokens", "drafter-last-token-zero", "drafter_tokens", lambda right, state: [*right(state)[:-1], 0]
)
mistake.add(
    "drafter",
    "hidden-of-the-first-beam",
    "beam_hidden",
    lambda _, hidden, parents: hidden[torch.zeros_like(parents)],
)
mistake.add(
    "drafter",
    "hidden-of-the-rank",
    "beam_hidden",
    lambda _, hidden, parents: hidden[torch.arange(len(parents)) % len(hidden)],
)


@mistake("drafter")
def hidden_not_advanced(port: Any) -> None:
    first: list[Tensor] = []

    def stuck(right: Any, hidden: Tensor, parents: Tensor) -> Any:
        if len(hidden) == 1:
            first[:] = [hidden]
        return first[0].expand(len(parents), -1)

    bend(port, "beam_hidden", stuck)


mistake.add(
    "drafter",
    "one-beam-fed-its-siblings-token",
    "beam_tokens",
    lambda _, tokens: tokens[[0, 0, *range(2, len(tokens))]],
)


@mistake("tokens")
def draft_under_the_root_before(port: Any) -> None:
    bend_to_the_call_before(port, "draft_root")


mistake.add(
    "tokens", "next-root-the-last-draft", "next_root", lambda _, accepted: int(accepted.emitted_token_ids[0])
)


@mistake.bends("tokens", "selected")
def nodes_token_of_its_sibling(right: Any, *given: Any) -> Any:
    made = right(*given)
    tokens = made.token_ids.copy()
    tokens[5] = tokens[6] if tokens[5] != tokens[6] else tokens[7]
    return replace(made, token_ids=tokens)
