"""The named tensors of a forward as a graph: each by the operator that makes it, out of those before it.

The networks of this package are run whole elsewhere; here every operator stands alone, so that it can be
computed on any inputs, e.g. on those that a path under test gave it. See `tracing.intermediates` for names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from reference.arithmetic import Arithmetic, Weights, linear, rms_norm
from reference.attention import attention
from reference.experts import mlp
from reference.model import ReferenceModels
from reference.rope import rotate, rotation
from reference.visible import near
from tracing.models import DrafterConfig, MedusaConfig, TeacherConfig


@dataclass(frozen=True, slots=True)
class Node:
    """One tensor of a forward.

    Attributes:
        needs: Names of the tensors that it is computed from.
        compute: Makes it from these, rows first.
    """

    needs: tuple[str, ...]
    compute: Callable[..., Tensor]


Graph = Mapping[str, Node]
"""By name, in an order in which nothing comes before what it needs."""
Tensors = Mapping[str, Tensor]


@torch.no_grad()
def evaluate(models: ReferenceModels, graph: Graph, given: Tensors) -> dict[str, Tensor]:
    """Compute every tensor of a graph that can be.

    Args:
        models: Dtype and device.
        graph: Of one network of theirs.
        given: Tensors to compute with in place of one's own; those that no node makes are the inputs.

    Returns:
        What each node makes of its needs, whether or not it is given itself.
    """
    own: dict[str, Tensor] = {name: _fitted(models, tensor) for name, tensor in given.items()}
    made: dict[str, Tensor] = {}
    for name, node in graph.items():
        if all(need in own or need in made for need in node.needs):
            made[name] = node.compute(*(own.get(need, made.get(need)) for need in node.needs))
    return made


def _fitted(models: ReferenceModels, tensor: Tensor) -> Tensor:
    tensor = tensor.to(models.device)
    return tensor.to(models.dtype) if tensor.is_floating_point() else tensor


def teacher_graph(models: ReferenceModels) -> Graph:
    """Return the teacher's forward.

    Inputs: `token_ids`, `position_ids` `[R]`, `visible` bool `[R, S + R]` without windows, `past_positions`
    `[S]`, and `layers.I.past_keys`, `layers.I.past_values` `[S, H_kv, D]`; all names begin with `teacher.`.
    """
    return _decoder(models, "teacher", models.teacher, models.teacher_weights, features=True)


def drafter_graph(models: ReferenceModels) -> Graph:
    """Return the drafter's forward; empty for a drafter without a network that is known here.

    Inputs as `teacher_graph`, beginning with `drafter.`. An EAGLE-3 drafter also takes `features` `[R, F]`
    where its forward begins with them, and Medusa heads take nothing else.
    """
    config = models.drafter
    if isinstance(config, DrafterConfig):
        return _eagle3(models)
    if isinstance(config, MedusaConfig):
        return _medusa(models)
    if isinstance(config, TeacherConfig):
        return _decoder(models, "drafter", config, models.drafter_weights, features=False)
    return {}


def _decoder(
    models: ReferenceModels, network: str, config: TeacherConfig, weights: Weights, *, features: bool
) -> Graph:
    graph: dict[str, Node] = {f"{network}.embedding": _embedding(network, weights, "model.embed_tokens")}
    entering = [f"{network}.embedding"]
    for layer in range(config.num_layers):
        site = f"{network}.layers.{layer}"
        norm = _norm(models, weights, f"model.layers.{layer}.input_layernorm", config)
        graph[f"{site}.input_norm"] = Node((entering[-1],), norm)
        made = _Layer(models, network, site, config, weights, f"model.layers.{layer}", config.windows[layer])
        graph |= made.nodes(entering[-1])
        entering.append(f"{site}.output")
    graph[f"{network}.final_norm"] = Node((entering[-1],), _norm(models, weights, "model.norm", config))
    taps = models.pair.taps
    tapped = [entering[layer] for layer in taps.layers] + [f"{network}.final_norm"] * taps.final_hidden
    if features and tapped:
        graph[f"{network}.features"] = Node(tuple(tapped), lambda *rows: torch.cat(rows, dim=-1))
    graph[f"{network}.logits"] = Node((f"{network}.final_norm",), _linear(models, weights, "lm_head"))
    return graph


def _eagle3(models: ReferenceModels) -> Graph:
    config, weights = models.drafter, models.drafter_weights
    graph: dict[str, Node] = {}
    fused = "drafter.features"
    if config.fc_norm or config.norm_before_fc:
        graph["drafter.features_norm"] = Node((fused,), partial(_normed_features, models))
        fused = "drafter.features_norm"
    graph["drafter.hidden_in"] = Node((fused,), _linear(models, weights, "fc"))
    graph["drafter.embedding"] = _embedding("drafter", weights, "embed_tokens")
    norms = {
        name: _norm(models, weights, f"midlayer.{name}", config)
        for name in ("input_layernorm", "hidden_norm")
    }
    graph["drafter.embedding_norm"] = Node(("drafter.embedding",), norms["input_layernorm"])
    graph["drafter.hidden_norm"] = Node(("drafter.hidden_in",), norms["hidden_norm"])
    both = ("drafter.embedding_norm", "drafter.hidden_norm")
    graph["drafter.midlayer.input_norm"] = Node(both, lambda *rows: torch.cat(rows, dim=-1))
    entering = "drafter.hidden_norm" if config.norm_before_residual else "drafter.hidden_in"
    graph |= _Layer(models, "drafter", "drafter.midlayer", config, weights, "midlayer", 0).nodes(entering)
    graph["drafter.final_norm"] = Node(("drafter.midlayer.output",), _norm(models, weights, "norm", config))
    handed_on = "drafter.final_norm" if config.norm_output else "drafter.midlayer.output"
    graph["drafter.hidden_out"] = Node((handed_on,), lambda rows: rows)
    graph["drafter.logits"] = Node(("drafter.final_norm",), _linear(models, weights, "lm_head"))
    return graph


def _medusa(models: ReferenceModels) -> Graph:
    config, weights = models.drafter, models.drafter_weights
    graph: dict[str, Node] = {}
    for head in range(config.num_heads):
        site = f"drafter.heads.{head}"

        def blocks(x: Tensor, head: int = head) -> Tensor:
            for number in range(config.num_layers):
                moved = linear(x, weights, f"blocks.{head}.layers.{number}", models.arithmetic)
                x = x + torch.nn.functional.silu(moved)
            return x

        graph[f"{site}.output"] = Node(("drafter.features",), blocks)
        graph[f"{site}.logits"] = Node((f"{site}.output",), _linear(models, weights, config.head(head)))
    return graph


@dataclass(frozen=True, slots=True)
class _Layer:
    """A decoder layer; `site` begins the names of its tensors, `prefix` those of its weights."""

    models: ReferenceModels
    network: str
    site: str
    config: Any
    weights: Weights
    prefix: str
    window: int

    def nodes(self, entering: str) -> dict[str, Node]:
        """Return all but `input_norm`."""
        return {**self._heads(), **self._attention(), **self._rest(entering)}

    def _heads(self) -> dict[str, Node]:
        config, attn = self.config, f"{self.prefix}.self_attn"
        nodes: dict[str, Node] = {}
        for name, own, num in (
            ("query_proj", "q_proj", config.num_heads),
            ("key_proj", "k_proj", config.num_kv_heads),
            ("value", "v_proj", config.num_kv_heads),
        ):
            project = _linear(self.models, self.weights, f"{attn}.{own}")
            nodes[self._at(name)] = Node(
                (self._at("input_norm"),),
                lambda x, project=project, num=num: project(x).view(len(x), num, config.head_dim),
            )
        for side in ("query", "key"):
            source = self._at(f"{side}_proj")
            if config.qk_norm:
                norm = _norm(self.models, self.weights, f"{attn}.{side[0]}_norm", config)
                nodes[self._at(f"{side}_norm")] = Node((source,), norm)
                source = self._at(f"{side}_norm")
            nodes[self._at(side)] = Node((source, f"{self.network}.position_ids"), self._rotated)
        return nodes

    def _attention(self) -> dict[str, Node]:
        stored = self.models.arithmetic.stored

        def joined(past: Tensor, new: Tensor) -> Tensor:
            return stored(torch.cat([past, new]).transpose(0, 1)).transpose(0, 1)

        def seen(visible: Tensor, position_ids: Tensor, past_positions: Tensor) -> Tensor:
            key_positions = torch.cat([past_positions, position_ids])
            return visible & near(position_ids, key_positions, self.window)

        whole = (f"{self.network}.{name}" for name in ("visible", "position_ids", "past_positions"))
        needs = tuple(self._at(name) for name in ("query", "keys", "values", "visible"))
        return {
            self._at("keys"): Node((self._at("past_keys"), self._at("key")), joined),
            self._at("values"): Node((self._at("past_values"), self._at("value")), joined),
            self._at("visible"): Node(tuple(whole), seen),
            self._at("attention"): Node(needs, partial(_mixed, self.models.arithmetic)),
        }

    def _rest(self, entering: str) -> dict[str, Node]:
        models, weights, prefix = self.models, self.weights, self.prefix
        project = _linear(models, weights, f"{prefix}.self_attn.o_proj")
        norm = _norm(models, weights, f"{prefix}.post_attention_layernorm", self.config)
        at = self._at
        experts = getattr(self.config, "experts", None)
        if experts is None:
            inside = self._gated_mlp()
        else:
            chosen = (weights, f"{prefix}.mlp", experts, models.arithmetic)
            inside = {at("mlp_output"): Node((at("mlp_norm"),), lambda x: mlp(x, *chosen))}
        return {
            at("attention_output"): Node((at("attention"),), lambda x: project(x.flatten(1))),
            at("attended"): Node((entering, at("attention_output")), _added),
            at("mlp_norm"): Node((at("attended"),), norm),
            **inside,
            at("output"): Node((at("attended"), at("mlp_output")), _added),
        }

    def _gated_mlp(self) -> dict[str, Node]:
        models, weights, prefix, at = self.models, self.weights, f"{self.prefix}.mlp", self._at
        return {
            at("gate"): Node((at("mlp_norm"),), _linear(models, weights, f"{prefix}.gate_proj")),
            at("up"): Node((at("mlp_norm"),), _linear(models, weights, f"{prefix}.up_proj")),
            at("activated"): Node((at("gate"), at("up")), partial(_gated, models.arithmetic)),
            at("mlp_output"): Node((at("activated"),), _linear(models, weights, f"{prefix}.down_proj")),
        }

    def _at(self, name: str) -> str:
        return f"{self.site}.{name}"

    def _rotated(self, x: Tensor, position_ids: Tensor) -> Tensor:
        config, arithmetic = self.config, self.models.arithmetic
        most = config.max_position_embeddings
        turns = rotation(config.rope, config.head_dim, position_ids, most, self.models.dtype)
        turned = rotate(arithmetic.working(x.transpose(0, 1)), *turns)
        return arithmetic.settled(turned, x.dtype).transpose(0, 1)


def _mixed(arithmetic: Arithmetic, query: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
    query, keys, values = (side.transpose(0, 1) for side in (query[-len(visible) :], keys, values))
    return attention(query, keys, values, visible, arithmetic).transpose(0, 1)


def _added(first: Tensor, second: Tensor) -> Tensor:
    """Add; of the longer one the last rows."""
    rows = min(len(first), len(second))
    return first[len(first) - rows :] + second[len(second) - rows :]


def _gated(arithmetic: Arithmetic, gate: Tensor, up: Tensor) -> Tensor:
    dtype = gate.dtype
    gate, up = arithmetic.working(gate), arithmetic.working(up)
    return arithmetic.settled(torch.nn.functional.silu(gate) * up, dtype)


def _normed_features(models: ReferenceModels, features: Tensor) -> Tensor:
    config, weights, arithmetic = models.drafter, models.drafter_weights, models.arithmetic
    if config.fc_norm:
        parts = features.chunk(3, dim=-1)
        normed = (
            rms_norm(part, weights[f"fc_norm.{tap}.weight"], config.rms_norm_eps, arithmetic)
            for tap, part in enumerate(parts)
        )
        features = torch.cat(tuple(normed), dim=-1)
    if config.norm_before_fc:
        features = rms_norm(features, weights["input_norm.weight"], config.rms_norm_eps, arithmetic)
    return features


def _embedding(network: str, weights: Weights, name: str) -> Node:
    return Node((f"{network}.token_ids",), lambda token_ids: weights[f"{name}.weight"][token_ids.long()])


def _norm(models: ReferenceModels, weights: Weights, name: str, config: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: rms_norm(x, weights[f"{name}.weight"], config.rms_norm_eps, models.arithmetic)


def _linear(models: ReferenceModels, weights: Weights, name: str) -> Callable[[Tensor], Tensor]:
    return lambda x: linear(x, weights, name, models.arithmetic)
