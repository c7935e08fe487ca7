"""Mistakes of the level port in what its drafter is fed; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from causes.level.port import bend, in_row, mistake


@mistake("d2t")
def map_left_out(port: Any) -> None:
    port.target_ids = lambda ids: ids


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


@mistake("features")
def features_of_the_row_before(port: Any) -> None:
    bend(port, "drafter_features", lambda right, state: right(state).roll(1, 0))


@mistake("features")
def fc_order_reversed(port: Any) -> None:
    def turned(right: Any, state: Any) -> Any:
        return torch.cat(right(state).chunk(3, dim=-1)[::-1], dim=-1)

    bend(port, "drafter_features", turned)


@mistake("features")
def first_tap_twice(port: Any) -> None:
    def doubled(right: Any, state: Any) -> Any:
        low, middle, _ = right(state).chunk(3, dim=-1)
        return torch.cat([low, middle, low], dim=-1)

    bend(port, "drafter_features", doubled)


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


@mistake("features")
def features_of_the_first_rows(port: Any) -> None:
    port.path_features = lambda _state, verified, path: verified.features[: len(path)]


@mistake("features")
def features_one_node_on(port: Any) -> None:
    port.path_features = lambda _state, verified, path: verified.features[
        [min(node + 1, len(verified.features) - 1) for node in path]
    ]


@mistake("features")
def root_features_for_all(port: Any) -> None:
    port.path_features = lambda _state, verified, path: verified.features[[0] * len(path)]


@mistake("features")
def two_feature_rows_exchanged(port: Any) -> None:
    bend(port, "tree_features", lambda right, rows: right(rows)[[0, 2, 1, *range(3, len(rows))]])


@mistake("features")
def feature_row_zero(port: Any) -> None:
    bend(port, "tree_features", lambda right, rows: in_row(right(rows), 4, 0.0))


@mistake("features")
def feature_row_of_the_parent(port: Any) -> None:
    bend(port, "tree_features", lambda right, rows: in_row(right(rows), 5, right(rows)[0]))


@mistake("stale")
def features_of_the_step_before(port: Any) -> None:
    kept: list[Any] = []

    def late(right: Any, state: Any, verified: Any, path: Any) -> Any:
        kept.append(verified)
        return right(state, kept[-2] if len(kept) > 1 else verified, path)

    bend(port, "path_features", late)


@mistake("tokens")
def token_paired_with_its_own_feature(port: Any) -> None:
    port.drafter_tokens = lambda state: state.tokens[state.drafted :]


@mistake("tokens")
def drafter_fed_the_root_twice(port: Any) -> None:
    bend(port, "drafter_tokens", lambda right, state: [*right(state)[:-2], state.root, state.root])


@mistake("tokens")
def drafter_last_token_zero(port: Any) -> None:
    bend(port, "drafter_tokens", lambda right, state: [*right(state)[:-1], 0])


@mistake("drafter")
def hidden_of_the_first_beam(port: Any) -> None:
    port.beam_hidden = lambda hidden, parents: hidden[torch.zeros_like(parents)]


@mistake("drafter")
def hidden_of_the_rank(port: Any) -> None:
    port.beam_hidden = lambda hidden, parents: hidden[torch.arange(len(parents)) % len(hidden)]


@mistake("drafter")
def hidden_not_advanced(port: Any) -> None:
    first: list[Tensor] = []

    def stuck(right: Any, hidden: Tensor, parents: Tensor) -> Any:
        if len(hidden) == 1:
            first[:] = [hidden]
        return first[0].expand(len(parents), -1)

    bend(port, "beam_hidden", stuck)


@mistake("drafter")
def one_beam_fed_its_siblings_token(port: Any) -> None:
    port.beam_tokens = lambda tokens: tokens[[0, 0, *range(2, len(tokens))]]


@mistake("tokens")
def draft_under_the_root_before(port: Any) -> None:
    kept: list[int] = []

    def late(right: Any, state: Any) -> int:
        kept.append(right(state))
        return kept[-2] if len(kept) > 1 else kept[-1]

    bend(port, "draft_root", late)


@mistake("tokens")
def next_root_the_last_draft(port: Any) -> None:
    port.next_root = lambda accepted: int(accepted.emitted_token_ids[0])


@mistake("tokens")
def nodes_token_of_its_sibling(port: Any) -> None:
    def changed(right: Any, *given: Any) -> Any:
        made = right(*given)
        tokens = made.token_ids.copy()
        tokens[5] = tokens[6] if tokens[5] != tokens[6] else tokens[7]
        return replace(made, token_ids=tokens)

    bend(port, "selected", changed)
