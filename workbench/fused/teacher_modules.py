"""Layers in the place of a transformers decoder's own, over the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.fused.attention import AttentionCall, attend
from workbench.fused.cache.rows import RowCache
from workbench.fused.experts import ExpertsMlp, ExpertWeights
from workbench.fused.gated_mlp import GatedMlp
from workbench.fused.operators import Operators
from workbench.fused.rotary import Tables
from workbench.fused.seen import tell_heads


class RmsNorm:
    """RMSNorm through the operator."""

    __slots__ = ("_operators", "_weight", "epsilon")

    def __init__(self, source: Any, operators: Operators) -> None:
        self._weight: Tensor = source.weight.detach()
        self.epsilon: float = source.variance_epsilon
        self._operators = operators

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the normed rows."""
        return self._operators.rms_norm(rows, self._weight, self.epsilon)


class TreeAttention:
    """Self-attention over the projections of a transformers attention module, q, k and v in one product.

    Queries and keys are rotated together and in BSND, where a short tree breaks no rule of the rotary
    operator, and stay in this layout up to the output projection.
    """

    def __init__(self, source: Any, operators: Operators) -> None:
        self.project = operators.products.joined([source.q_proj, source.k_proj, source.v_proj])
        self.output = operators.products.joined([source.o_proj])
        self.q_norm, self.k_norm = (
            RmsNorm(getattr(source, name), operators) if hasattr(source, name) else None
            for name in ("q_norm", "k_norm")
        )
        self.head_dim: int = source.head_dim
        self.num_heads = source.q_proj.out_features // self.head_dim
        self.num_rotated = self.num_heads + source.k_proj.out_features // self.head_dim
        self.layer_idx: int = source.layer_idx
        self.scaling: float = source.scaling
        self.operators = operators

    def __call__(
        self, rows: Tensor, tables: Tables, blocked: Tensor | None, cache: RowCache, call: AttentionCall
    ) -> Tensor:
        """Return attention output `[1, R, hidden]`; keys and values are appended to the cache."""
        heads = self.project(rows).view(1, rows.shape[1], -1, self.head_dim)
        to_rotate, values = heads.tensor_split((self.num_rotated,), dim=2)
        normed = self._normed(to_rotate)
        rotated = self.operators.rotary(normed, *tables)
        query, key = rotated.tensor_split((self.num_heads,), dim=2)
        keys, all_values = cache.write(self.layer_idx, key[0], values[0], call.pages)
        output = attend(query, keys, all_values, blocked, call, scale=self.scaling)
        if call.seen is not None:
            seen = call.seen.at(f"layers.{self.layer_idx}")
            tell_heads(seen, heads, None if self.q_norm is None else normed, self.num_heads, self.num_rotated)
            call.tell(seen, query, keys, all_values, blocked)
            seen(key=key, attention=output)
        return self.output(output.flatten(2))

    def _normed(self, rotated: Tensor) -> Tensor:
        """Return query and key heads, each normed where the architecture has it."""
        if self.q_norm is None or self.k_norm is None:
            return rotated
        query, key = rotated.tensor_split((self.num_heads,), dim=2)
        return torch.cat([self.q_norm(query.contiguous()), self.k_norm(key.contiguous())], dim=2)


class DecoderLayer:
    """A pre-norm decoder layer over the weights of a transformers one."""

    def __init__(self, source: Any, operators: Operators) -> None:
        self.input_layernorm = RmsNorm(source.input_layernorm, operators)
        self.self_attn = TreeAttention(source.self_attn, operators)
        self.post_attention_layernorm = RmsNorm(source.post_attention_layernorm, operators)
        kind = ExpertsMlp if isinstance(source.mlp, ExpertWeights) else GatedMlp
        self.mlp = kind(source.mlp, operators)

    def __call__(
        self, rows: Tensor, tables: Tables, blocked: Tensor | None, cache: RowCache, call: AttentionCall
    ) -> Tensor:
        """Return the residual stream behind this layer.

        Args:
            rows: The residual stream, `[1, R, hidden]`.
            tables: Cosines and sines, as the rotary operator takes them.
            blocked: As `Teacher.forward`.
            cache: Extended in place.
            call: How attention runs.
        """
        normed = self.input_layernorm(rows)
        attended = self.self_attn(normed, tables, blocked, cache, call)
        after = rows + attended
        seen = None if call.seen is None else call.seen.at(f"layers.{self.self_attn.layer_idx}")
        inner = self.post_attention_layernorm(after)
        if isinstance(self.mlp, ExpertsMlp):
            moved: Tensor = after + self.mlp(inner, seen, call.routing)
        else:
            moved = after + self.mlp(inner, seen)
        if seen is not None:
            seen(input_norm=normed, attention_output=attended, attended=after, output=moved)
        return moved


def take_layers(base: Any, operators: Operators) -> Sequence[DecoderLayer]:
    """Return our layers over those of a model, which lets go of each as it is taken."""
    layers = []
    for index, layer in enumerate(base.layers):
        layers.append(DecoderLayer(layer, operators))
        base.layers[index] = torch.nn.Identity()
    return layers
