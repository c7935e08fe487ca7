"""A forward with its tensors: each computed alone on what the path gave, or all from the inputs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reference.intermediates import Graph, Tensors, evaluate
from reference.model import ReferenceModels
from tracing.models import DrafterConfig, TeacherConfig
from tracing.stages import BoolArray

Past = Callable[[ReferenceModels], dict[str, Tensor]]
"""Keys and values in front of a forward, by the names of the graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One forward of a network.

    Attributes:
        network: `teacher` or `drafter`.
        number: Within its stage, from 0.
        graph: Of the network, as the truth computes it.
        build: Makes the graph of other models.
        sites: Of its layers, e.g. `teacher.layers.0`.
        own: What the path gave, in the shapes of the graph.
        inputs: What it has to be given, as far as that is known.
        past: Keys and values in front of it.
        rows: What its rows are: `node`, `position` or `beam`.
        first_row: Number of its first row.
        num_past: S.
        judged: Rows that mean something, bool `[R]`; None is all of them.
        misshapen: Tensors that the path gave in no shape that they can have, with the reason.
    """

    network: str
    number: int
    graph: Graph
    build: Callable[[ReferenceModels], Graph]
    sites: tuple[str, ...]
    own: Tensors
    inputs: Mapping[str, Tensor]
    past: Past
    rows: str
    first_row: int = 0
    num_past: int = 0
    judged: BoolArray | None = None
    misshapen: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """R."""
        return max(
            len(tensor) for name, tensor in self.inputs.items() if name.endswith(("token_ids", "features"))
        )

    def alone(self, models: ReferenceModels, names: Iterable[str]) -> dict[str, Tensor]:
        """Compute tensors, each from what the path gave right before it."""
        wanted = needed(self.build(models), self.own, names)
        return evaluate(models, wanted, {**self.inputs, **self.past(models), **self.own})

    def whole(self, models: ReferenceModels, inputs: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Compute all tensors from the inputs alone."""
        return evaluate(models, self.build(models), {**(inputs or self.inputs), **self.past(models)})

    def behind(self, models: ReferenceModels) -> dict[str, Tensor]:
        """Return keys and values of all rows so far, as the past of the next forward."""
        names = [f"{site}.{side}" for site in self.sites for side in ("keys", "values")]
        made = self.alone(models, [name for name in names if name not in self.own])
        found = {name: self.own.get(name, made.get(name)) for name in names}
        return {_past_name(name): tensor for name, tensor in found.items() if tensor is not None}

    def missing(self, name: str) -> tuple[str, ...]:
        """Return what lies between a tensor and what the path gave before it, in order of the data flow."""
        between = needed(self.graph, self.own, [name])
        return tuple(each for each in between if each != name)


def needed(graph: Graph, own: Tensors, names: Iterable[str]) -> Graph:
    """Return the nodes of these names, and of what they need and the path did not give."""
    wanted: set[str] = set()
    waiting = [name for name in names if name in graph]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += [need for need in graph[name].needs if need in graph and need not in own]
    return {name: node for name, node in graph.items() if name in wanted}


def sites_of(models: ReferenceModels, network: str) -> tuple[str, ...]:
    """Return the sites of a network's layers; none for one without attention."""
    config: Any = models.teacher if network == "teacher" else models.drafter
    if isinstance(config, TeacherConfig):
        return tuple(f"{network}.layers.{layer}" for layer in range(config.num_layers))
    return ("drafter.midlayer",) if isinstance(config, DrafterConfig) else ()


def past_rows(sites: tuple[str, ...], kv: Tensor) -> dict[str, Tensor]:
    """Return cache rows `[layers, 2, kv_heads, S, D]` by the names of the graph."""
    return {
        f"{site}.{name}": kv[layer, side].transpose(0, 1)
        for layer, site in enumerate(sites)
        for side, name in enumerate(("past_keys", "past_values"))
    }


def no_rows(models: ReferenceModels, network: str) -> dict[str, Tensor]:
    """Return an empty past."""
    config: Any = models.teacher if network == "teacher" else models.drafter
    sites = sites_of(models, network)
    if not sites:
        return {}
    return past_rows(sites, torch.zeros(len(sites), 2, config.num_kv_heads, 0, config.head_dim))


def fitted(given: Tensors, whole: Tensors) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what a path gave in the shapes of the graph, and what cannot have its shape, with the reason.

    Args:
        given: In the path's shapes: a leading axis of 1 and flat heads are legal, and the last rows alone.
        whole: The tensors of the graph, of all rows.
    """
    own: dict[str, Tensor] = {}
    misshapen: dict[str, str] = {}
    for name, tensor in given.items():
        like = whole.get(name)
        if like is None:
            continue
        width = like[:1].numel()
        rows = tensor.numel() // width if width and tensor.numel() % width == 0 else -1
        is_fixed = name.rpartition(".")[2] in _ALL_ROWS
        if 0 < rows <= len(like) and not (is_fixed and rows != len(like)):
            own[name] = tensor.reshape(rows, *like.shape[1:])
        else:
            misshapen[name] = f"shape {list(tensor.shape)}, where {list(like.shape)} belongs"
    return own, misshapen


_ALL_ROWS = frozenset({"keys", "values", "visible", "token_ids", "position_ids"})


def _past_name(name: str) -> str:
    site, _, side = name.rpartition(".")
    return f"{site}.past_{side}"
