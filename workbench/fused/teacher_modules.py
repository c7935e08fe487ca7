"""Modules that replace a transformers decoder's own, over the same weights."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from workbench.fused.attention import AttentionCall, attend
from workbench.fused.cache.rows import RowCache
from workbench.fused.experts import ExpertsMlp, ExpertWeights
from workbench.fused.gated_mlp import GatedMlp
from workbench.fused.operators import Operators
from workbench.fused.seen import tell_heads

ATTENTION: Final = "specwb_npu_fused_infer_attention"
"""Name under which the attention function is registered with transformers."""


def registered_attention(  # noqa: PLR0917  # the library's signature
    module: nn.Module,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    *,
    attention_call: AttentionCall,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend as `attention_call` specifies; `attention_mask` is in the device's form, True is left out."""
    return attend(query, key, value, attention_mask, attention_call, scale=scaling), None


AttentionInterface.register(ATTENTION, registered_attention)


class RmsNorm(nn.Module):
    """RMSNorm through the operator."""

    def __init__(self, source: Any, operators: Operators) -> None:
        super().__init__()
        self.weight: nn.Parameter = source.weight
        self.epsilon: float = source.variance_epsilon
        self.operators = operators

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return the normed rows."""
        return self.operators.rms_norm(hidden_states, self.weight, self.epsilon)


class TreeAttention(nn.Module):
    """Self-attention over the projections of a transformers attention module, q, k and v in one product.

    Queries and keys are rotated together and in BSND, where a short tree breaks no rule of the rotary
    operator.
    """

    def __init__(self, source: Any, operators: Operators) -> None:
        super().__init__()
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

    def forward(
        self,
        hidden_states: Tensor,
        rotary_tables: tuple[Tensor, Tensor],
        blocked: Tensor | None,
        cache: RowCache,
        call: AttentionCall,
    ) -> Tensor:
        """Return attention output `[1, R, hidden]`; keys and values are appended to the cache."""
        heads = self.project(hidden_states).view(*hidden_states.shape[:-1], -1, self.head_dim)
        normed = self._normed(heads[:, :, : self.num_rotated])
        rotated = self.operators.rotary(normed, *rotary_tables)
        keys, values = cache.update(
            rotated[:, :, self.num_heads :].transpose(1, 2),
            heads[:, :, self.num_rotated :].transpose(1, 2),
            self.layer_idx,
            call.pages,
        )
        output, _ = ALL_ATTENTION_FUNCTIONS[ATTENTION](
            self,
            rotated[:, :, : self.num_heads].transpose(1, 2),
            keys,
            values,
            blocked,
            scaling=self.scaling,
            attention_call=call,
        )
        if call.seen is not None:
            seen = call.seen.at(f"layers.{self.layer_idx}")
            tell_heads(seen, heads, None if self.q_norm is None else normed, self.num_heads, self.num_rotated)
            call.tell(seen, rotated[:, :, : self.num_heads], keys, values, blocked)
            seen(key=rotated[:, :, self.num_heads :], attention=output)
        return self.output(output.flatten(2))

    def _normed(self, rotated: Tensor) -> Tensor:
        """Return query and key heads, each normed where the architecture has it."""
        if self.q_norm is None or self.k_norm is None:
            return rotated
        query, key = rotated[:, :, : self.num_heads], rotated[:, :, self.num_heads :]
        return torch.cat([self.q_norm(query.contiguous()), self.k_norm(key.contiguous())], dim=2)


class DecoderLayer(nn.Module):
    """A pre-norm decoder layer over the weights of a transformers one."""

    def __init__(self, source: Any, operators: Operators) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(source.input_layernorm, operators)
        self.self_attn = TreeAttention(source.self_attn, operators)
        self.post_attention_layernorm = RmsNorm(source.post_attention_layernorm, operators)
        kind = ExpertsMlp if isinstance(source.mlp, ExpertWeights) else GatedMlp
        self.mlp = kind(source.mlp, operators)

    def forward(
        self,
        hidden_states: Tensor,
        rotary_tables: tuple[Tensor, Tensor],
        blocked: Tensor | None,
        cache: RowCache,
        call: AttentionCall,
    ) -> Tensor:
        """Return the residual stream behind this layer.

        Args:
            hidden_states: The residual stream, `[1, R, hidden]`.
            rotary_tables: Cosines and sines, `[1, R, 1, D]`.
            blocked: As `Teacher.forward`.
            cache: Extended in place.
            call: How attention runs.
        """
        normed = self.input_layernorm(hidden_states)
        attended = self.self_attn(normed, rotary_tables, blocked, cache, call)
        after = hidden_states + attended
        seen = None if call.seen is None else call.seen.at(f"layers.{self.self_attn.layer_idx}")
        inner = self.post_attention_layernorm(after)
        if isinstance(self.mlp, ExpertsMlp):
            moved: Tensor = after + self.mlp(inner, seen, call.routing)
        else:
            moved = after + self.mlp(inner, seen)
        if seen is not None:
            seen(input_norm=normed, attention_output=attended, attended=after, output=moved)
        return moved


def install(model: nn.Module, operators: Operators) -> None:
    """Put our layers and our last norm in the place of the library's."""
    base: Any = model.model
    for index, layer in enumerate(base.layers):
        base.layers[index] = DecoderLayer(layer, operators)
    base.norm = RmsNorm(base.norm, operators)
