"""What of the models can be made smaller: layers, heads, width, words; whether weights matter at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, Literal

import torch

from tracing.models import DrafterConfig, TeacherConfig
from tracing.settings import DecodeSettings
from workbench.reduce.axes import Room
from workbench.reduce.case import NetworkCut, RunCase
from workbench.reduce.slices import cut_hidden

Network = Literal["teacher", "drafter"]
NETWORKS: Final[tuple[Network, ...]] = ("teacher", "drafter")
LANES: Final = 16
"""Sizes are cut to multiples of this, as operators want them."""
SEEDS: Final = (0, 1, 2)


def leap(case: RunCase, room: Room) -> RunCase:
    """Take the smallest of a few cases that are small in all respects, and so cheap to run."""
    return room.best(case, [each for each in _small(case, room) if each != case])


def _small(case: RunCase, room: Room) -> Iterator[RunCase]:
    settings, turns = case.settings, case.turns
    for layers in _few_layers(room):
        for count, tree in ((2, (4, 1, 2)), (4, (8, 2, 3)), (16, (8, 2, 3))):
            cut = replace(case, cut=replace(case.cut, teacher=NetworkCut(layers=layers)))
            yield replace(cut, turns=(*turns[:-1], turns[-1][-count:]), settings=_small_tree(settings, *tree))
    for layers in _few_layers(room):
        yield replace(case, cut=replace(case.cut, teacher=NetworkCut(layers=layers)))


def _few_layers(room: Room) -> tuple[tuple[int, ...], ...]:
    last = room.pair.teacher.num_layers - 1
    return ((0,), (last,), (0, last)) if last > 1 else ((0,),)


def _small_tree(settings: DecodeSettings, nodes: int, depth: int, top_k: int) -> DecodeSettings:
    if settings.static_tree != DecodeSettings().static_tree:
        return settings
    return replace(
        settings,
        tree_nodes=min(nodes, settings.tree_nodes),
        depth=min(depth, settings.depth),
        top_k=min(top_k, settings.top_k),
    )


def fewer_layers(case: RunCase, room: Room) -> RunCase:
    """Leave layers out."""
    for network in NETWORKS:
        case = _fewer_layers(case, room, network)
    return case


def _fewer_layers(case: RunCase, room: Room, network: Network) -> RunCase:
    config: Any = getattr(room.pair, network)
    if not isinstance(config, TeacherConfig):
        return case
    layers = getattr(case.cut, network).layers or tuple(range(config.num_layers))
    return room.part(case, layers, lambda kept: _with(case, network, layers=kept))


def other_weights(case: RunCase, room: Room) -> RunCase:
    """Draw the weights at random; before that, take quantised ones for the numbers that they stand for."""
    if room.pair.teacher.quantisation is not None and not case.cut.plain:
        case = room.best(case, [replace(case, cut=replace(case.cut, plain=True))])
        if not case.cut.plain:
            return case
    if case.cut.seed is not None:
        return case
    return room.best(case, [replace(case, cut=replace(case.cut, seed=seed)) for seed in SEEDS])


def fewer_words(case: RunCase, room: Room) -> RunCase:
    """Leave token ids out that nothing needs."""
    words = case.cut.vocab or tuple(range(room.pair.teacher.vocab_size))
    outcome = room.outcome(case)
    told = () if outcome is None else outcome.emitted
    needed = {0, *(token for turn in (*case.turns, *told) for token in turn)}.intersection(words)
    prompt = {0, *(token for turn in case.turns for token in turn)}
    order = [*sorted(prompt), *sorted(needed - prompt), *_others(room, needed, words)]

    def made(count: int) -> RunCase:
        return replace(case, cut=replace(case.cut, vocab=tuple(sorted(order[:count]))))

    least = -(-(len(prompt) + 2 * case.settings.top_k) // LANES) * LANES
    return case if least >= len(words) else room.number(case, len(words), made, least=least, multiple=LANES)


def _others(room: Room, needed: set[int], words: tuple[int, ...]) -> list[int]:
    """Return the other ids: by turns one that is drafted, one that is not."""
    rest = [token for token in words if token not in needed]
    held = room.pair.target_from_draft
    if held is None:
        return rest
    drafted = set(torch.as_tensor(held).tolist())
    first = [token for token in rest if token in drafted]
    second = [token for token in rest if token not in drafted]
    woven = [token for both in zip(first, second, strict=False) for token in both]
    shorter = min(len(first), len(second))
    return [*woven, *first[shorter:], *second[shorter:]]


def narrower(case: RunCase, room: Room) -> RunCase:
    """Leave lanes of the residual stream and of the MLPs out."""
    if not _can_slice(case, room):
        return case
    sizes = [getattr(config, "hidden_size", 0) for config in (room.pair.teacher, room.pair.drafter)]
    hidden = max(cut_hidden(size, case.cut) for size in sizes)
    case = room.number(
        case,
        hidden,
        lambda size: replace(case, cut=replace(case.cut, hidden=size)),
        least=LANES,
        multiple=LANES,
    )
    for network in NETWORKS:
        case = _narrower_mlp(case, room, network)
    return case


def _narrower_mlp(case: RunCase, room: Room, network: Network) -> RunCase:
    config: Any = getattr(room.pair, network)
    if not isinstance(config, (TeacherConfig, DrafterConfig)) or getattr(config, "experts", None):
        return case
    width = getattr(case.cut, network).width or config.intermediate_size
    bounds = {"least": LANES, "multiple": LANES}
    return room.number(case, width, lambda size: _with(case, network, width=size), **bounds)


def fewer_heads(case: RunCase, room: Room) -> RunCase:
    """Leave key heads with their groups out, then query heads of each group."""
    if not _can_slice(case, room):
        return case
    for network in NETWORKS:
        case = _fewer_heads(case, room, network)
    return case


def _fewer_heads(case: RunCase, room: Room, network: Network) -> RunCase:
    config: Any = getattr(room.pair, network)
    if not isinstance(config, (TeacherConfig, DrafterConfig)):
        return case
    own: NetworkCut = getattr(case.cut, network)
    heads = own.kv_heads or tuple(range(config.num_kv_heads))
    fewer = room.part(case, heads, lambda kept: _with(case, network, kv_heads=kept))
    group = own.group or config.num_heads // config.num_kv_heads
    return room.number(fewer, group, lambda count: _with(fewer, network, group=count))


def _can_slice(case: RunCase, room: Room) -> bool:
    """Whether rows and columns are numbers of their own; words of int4 hold several."""
    return room.pair.teacher.quantisation is None or case.cut.plain


def _with(case: RunCase, network: Network, **changes: Any) -> RunCase:
    own = replace(getattr(case.cut, network), **changes)
    return replace(case, cut=replace(case.cut, **{network: own}))
