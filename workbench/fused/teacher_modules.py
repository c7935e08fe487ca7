"""Modules that stand in for a transformers decoder's own, over the same weights."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from workbench.fused.attention import AttentionCall, attend
from workbench.fused.operators import Operators

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
    """Attend as `attention_call` says; `attention_mask` is in the device's form, True is left out."""
    return attend(query, key, value, attention_mask, attention_call, scale=scaling), None


AttentionInterface.register(ATTENTION, registered_attention)


class TreeAttention(nn.Module):
    """Self-attention over the projections of a transformers attention module.

    Queries and keys are rotated in BSND, where a short tree breaks no rule of the rotary operator.
    """

    def __init__(self, source: nn.Module, operators: Operators) -> None:
        super().__init__()
        self.q_proj: Any = source.q_proj
        self.k_proj: Any = source.k_proj
        self.v_proj: Any = source.v_proj
        self.o_proj: Any = source.o_proj
        self.q_norm: nn.Module = getattr(source, "q_norm", nn.Identity())
        self.k_norm: nn.Module = getattr(source, "k_norm", nn.Identity())
        self.config: Any = source.config
        self.head_dim: int = source.head_dim  # type: ignore[assignment]
        self.layer_idx: int = source.layer_idx  # type: ignore[assignment]
        self.scaling: float = source.scaling  # type: ignore[assignment]
        self.operators = operators

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        *,
        attention_call: AttentionCall,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Return attention output `[1, S, hidden]`; keys and values are appended to the cache."""
        heads = (*hidden_states.shape[:-1], -1, self.head_dim)
        cos, sin = (table.unsqueeze(2) for table in position_embeddings)
        query = self.operators.rotary(self.q_norm(self.q_proj(hidden_states).view(heads)), cos, sin)
        key = self.operators.rotary(self.k_norm(self.k_proj(hidden_states).view(heads)), cos, sin)
        value = self.v_proj(hidden_states).view(heads)
        keys, values = key.transpose(1, 2), value.transpose(1, 2)
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, self.layer_idx, attention_call.pages)
        run = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]  # noqa: SLF001  # the library's own switch
        output, _ = run(
            self,
            query.transpose(1, 2),
            keys,
            values,
            attention_mask,
            scaling=self.scaling,
            attention_call=attention_call,
            **options,
        )
        return self.o_proj(output.flatten(2)), None


class FusedRmsNorm(nn.Module):
    """RMSNorm through the operator."""

    def __init__(self, source: nn.Module, operators: Operators) -> None:
        super().__init__()
        self.weight: nn.Parameter = source.weight  # type: ignore[assignment]
        self.epsilon: float = source.variance_epsilon  # type: ignore[assignment]
        self.operators = operators

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return the normed rows."""
        return self.operators.rms_norm(hidden_states, self.weight, self.epsilon)


class FusedMlp(nn.Module):
    """Gate and up in one product, then SwiGLU through the operator. Holds its own copy of both weights."""

    def __init__(self, source: nn.Module, operators: Operators) -> None:
        super().__init__()
        gate: Any = source.gate_proj
        up: Any = source.up_proj
        self.weight = nn.Parameter(torch.cat([gate.weight, up.weight]), requires_grad=False)
        bias = None if gate.bias is None else torch.cat([gate.bias, up.bias])
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.down_proj: Any = source.down_proj
        self.operators = operators

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return `down(silu(gate(x)) * up(x))`."""
        hidden: Tensor = self.down_proj(
            self.operators.swiglu(functional.linear(hidden_states, self.weight, self.bias))
        )
        return hidden


def install(model: nn.Module, operators: Operators) -> None:
    """Replace attention everywhere, and norms and MLPs where their operator is fused."""
    base: Any = model.model
    norms_fused = "norm" not in operators.eager
    for layer in base.layers:
        if norms_fused:
            _replace_norms(layer.self_attn, ("q_norm", "k_norm"), operators)
            _replace_norms(layer, ("input_layernorm", "post_attention_layernorm"), operators)
        if "swiglu" not in operators.eager:
            layer.mlp = FusedMlp(layer.mlp, operators)
        layer.self_attn = TreeAttention(layer.self_attn, operators)
    if norms_fused:
        base.norm = FusedRmsNorm(base.norm, operators)


def _replace_norms(parent: nn.Module, names: tuple[str, ...], operators: Operators) -> None:
    for name in names:
        if hasattr(parent, name):
            setattr(parent, name, FusedRmsNorm(getattr(parent, name), operators))
