"""Mistakes in the fused path that are not in the catalogue of faults; each name says what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from causes.mistake import Family
from causes.twin import Around
from tracing.stages import DecodePath
from workbench.faults.experiment import Setup
from workbench.fused import accept, attention, commit, tensorize, verify
from workbench.fused.cache import manager
from workbench.fused.cache.contiguous import ContiguousLayer
from workbench.fused.drafters import eagle3, search
from workbench.fused.engine import Engine
from workbench.fused.path import make_engine, path_over
from workbench.fused.teacher import Teacher


@dataclass
class Port:
    """The fused path as something to be changed.

    Attributes:
        replaced: Functions of its modules that others take the place of, while one of its stages runs.
    """

    engine: Engine
    replaced: list[tuple[Any, str, Any]] = field(default_factory=list)

    def bend(self, owner: Any, name: str, wrong: Callable[..., Any]) -> None:
        """Replace a function of a module or a class by `wrong(right function, *arguments)`."""
        right = getattr(owner, name)
        self.replaced.append((owner, name, lambda *given, **named: wrong(right, *given, **named)))


def _build(setup: Setup) -> Port:
    return Port(make_engine(setup.pair, setup.settings, device="cpu", dtype=setup.dtype))


def _path_of(port: Any) -> DecodePath:
    return path_over(port.engine)


def _around_of(port: Any) -> Around:
    @contextmanager
    def around() -> Iterator[None]:
        with ExitStack() as entered:
            for owner, name, wrong in port.replaced:
                entered.enter_context(patch.object(owner, name, wrong))
            yield

    return around


mistake = Family("fused", _build, _path_of, held_out=True, around_of=_around_of, bend=Port.bend)


def _layers(port: Port) -> Any:
    return port.engine.teacher.layers


def _network(port: Port) -> Any:
    drafter: Any = port.engine.drafter
    return drafter.network


mistake.add(
    "kernel",
    "key-heads-in-reverse",
    attention,
    "_launch",
    lambda right, query, key, value, scale, **more: right(query, key.flip(2), value, scale, **more),
)


@mistake("kernel")
def scale_left_out_in_one_layer(port: Port) -> None:
    _layers(port)[1].self_attn.scaling = 1.0


@mistake("kernel")
def another_eps_in_one_norm(port: Port) -> None:
    _layers(port)[1].post_attention_layernorm.epsilon = 1e-2


@mistake.bends("features", Teacher, "_features")
def taps_from_the_last_to_the_first(right: Any, teacher: Any, entering: Any, final: Tensor) -> Tensor:
    rows: Tensor = right(teacher, entering, final)
    return torch.cat(rows.chunk(3, dim=-1)[::-1], dim=-1)


@mistake("d2t")
def map_moved_by_one_entry(port: Port) -> None:
    network = _network(port)
    network.target_from_draft = network.target_from_draft.roll(1)


mistake.add(
    "scores",
    "half-the-temperature",
    search,
    "_candidates",
    lambda right, ids, logits, top_k: right(ids, logits * 2, top_k),
)


@mistake.bends("tree", search, "stable_top_k")
def best_beam_passed_over(right: Any, scores: Tensor, k: int) -> Any:
    if scores.shape != (1, k * k):
        return right(scores, k)
    values, places = right(scores, k + 1)
    return values[:, 1:], places[:, 1:]


@mistake.bends("tree", search, "best_in_order")
def nodes_not_put_in_order(right: Any, scores: Any, num_kept: int) -> Any:
    return np.argsort(-scores, kind="stable")[:num_kept]


@mistake.bends("tree", search, "_ancestry")
def depths_one_too_small(right: Any, levels: Any) -> Any:
    below, parents, depths = right(levels)
    return below, parents, depths - 1


mistake.add(
    "mask",
    "table-of-two-generations",
    tensorize,
    "ancestor_table",
    lambda right, parents, depth: right(parents, 1),
)
mistake.add(
    "mask",
    "pads-see-the-root",
    tensorize,
    "visible_from_ancestors",
    lambda right, table, valid: right(table, valid | True),
    need="pads",
)


@mistake.bends("mask", verify, "packed_visible")
def first_committed_row_hidden(right: Any, *given: Any) -> Any:
    made = right(*given).clone()
    made[:, 0] = False
    return made


@mistake("positions")
def tree_launched_one_further(port: Port) -> None:
    teacher: Any = port.engine.teacher
    right = teacher.forward

    def forward(token_ids: Any, position_ids: Any, *rest: Any, **named: Any) -> Any:
        tree = len(token_ids) == port.engine.settings.tree_nodes and not named.get("last_only")
        return right(token_ids, position_ids + int(tree), *rest, **named)

    teacher.forward = forward


@mistake("positions")
def drafter_positions_doubled(port: Port) -> None:
    network = _network(port)
    right = network.forward
    network.forward = lambda ids, hidden, at, *rest, **named: right(ids, hidden, at * 2, *rest, **named)


@mistake("rotary")
def drafter_turns_half_as_fast(port: Port) -> None:
    tables = vars(_network(port))["_rotary"]
    tables.inv_freq = tables.inv_freq * 0.5


@mistake("rotary")
def cosines_for_sines(port: Port) -> None:
    layer = _layers(port)[0]
    right = layer.self_attn

    def turned(rows: Tensor, tables: Any, *rest: Any) -> Any:
        return right(rows, (tables[1], tables[0]), *rest)

    layer.self_attn = turned


@mistake.bends("features", eagle3.Eagle3Drafter, "follow")
def followed_by_the_rows_in_reverse(right: Any, drafter: Any, memory: Any, rows: Any) -> None:
    right(drafter, memory, type(rows)(rows.token_ids, rows.next_token_ids, rows.features.flip(0)))


@mistake.bends("commit", manager.CacheManager, "commit")
def last_kept_row_twice(right: Any, own: Any, rows: Any, *given: Any, **named: Any) -> Any:
    made = rows.copy()
    if len(made) > 1:
        made[-2] = made[-1]
    return right(own, made, *given, **named)


mistake.add(
    "commit",
    "one-row-short",
    manager.CacheManager,
    "commit",
    lambda right, own, rows, *given, **named: right(own, rows[: max(len(rows) - 1, 1)], *given, **named),
)
mistake.add(
    "cache",
    "keys-and-values-exchanged-when-copied",
    ContiguousLayer,
    "select",
    lambda right, own, index: right(own, index).flip(0),
)


@mistake.bends("accept", accept, "accepted_path")
def one_node_further_than_matched(right: Any, tree: Any, choices: Any) -> Any:
    path = right(tree, choices)
    below = np.flatnonzero((tree.parents == path[-1]) & tree.valid & (tree.depths > 0))
    return np.append(path, below[:1])


@mistake("accept", need="eos")
def no_token_ends_the_text(port: Port) -> None:
    object.__setattr__(port.engine, "eos_token_ids", frozenset())


@mistake("dtype")
def mlp_in_half_precision(port: Port) -> None:
    layer = _layers(port)[0]
    right = layer.mlp
    layer.mlp = lambda rows, *seen: right(rows.half().to(rows.dtype), *seen).half().to(rows.dtype)


@mistake("stale")
def mask_of_the_tree_before(port: Port) -> None:
    kept: list[Any] = []

    def stale(right: Any, engine: Any, tree: Any, length: int, window: int) -> Any:
        made = right(engine, tree, length, window)
        if kept and kept[-1].shape == tree.visible.shape:
            made = torch.cat([made[:, :length], torch.from_numpy(kept[-1])], dim=1)
        kept.append(tree.visible.copy())
        return made

    port.bend(verify, "packed_visible", stale)


@mistake.bends("features", commit, "CommittedRows")
def features_of_the_node_before(right: Any, tokens: Any, emitted: Any, features: Tensor) -> Any:
    return right(tokens, emitted, features.roll(1, 0))
