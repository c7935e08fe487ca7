"""The places of a teacher's weights: plain modules under the names of a checkpoint, without memory.

They are those of a transformers model, whose library they spare: importing it takes as long as twenty steps.
"""

from __future__ import annotations

import torch
from torch import nn

from tracing.models import TeacherConfig


class _Norm(nn.Module):
    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.variance_epsilon = epsilon


class _Attention(nn.Module):
    def __init__(self, config: TeacherConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.scaling = config.head_dim**-0.5
        hidden, inner = config.hidden_size, config.num_heads * config.head_dim
        self.q_proj = nn.Linear(hidden, inner, bias=config.qkv_bias)
        self.k_proj = nn.Linear(hidden, config.num_kv_heads * config.head_dim, bias=config.qkv_bias)
        self.v_proj = nn.Linear(hidden, config.num_kv_heads * config.head_dim, bias=config.qkv_bias)
        self.o_proj = nn.Linear(inner, hidden, bias=config.o_bias)
        if config.qk_norm:
            self.q_norm = _Norm(config.head_dim, config.rms_norm_eps)
            self.k_norm = _Norm(config.head_dim, config.rms_norm_eps)


class _Mlp(nn.Module):
    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=config.mlp_bias)
        self.up_proj = nn.Linear(hidden, inner, bias=config.mlp_bias)
        self.down_proj = nn.Linear(inner, hidden, bias=config.mlp_bias)


class _Layer(nn.Module):
    def __init__(self, config: TeacherConfig, layer_idx: int) -> None:
        super().__init__()
        self.input_layernorm = _Norm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = _Attention(config, layer_idx)
        self.post_attention_layernorm = _Norm(config.hidden_size, config.rms_norm_eps)
        self.mlp = _Mlp(config)


class _Base(nn.Module):
    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config, index) for index in range(config.num_layers))
        self.norm = _Norm(config.hidden_size, config.rms_norm_eps)


class TeacherWeights(nn.Module):
    """The places, made within `torch.device("meta")`: no memory, no weights.

    Attributes:
        model: Embedding, layers and the last norm.
        lm_head: The head.
    """

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.model = _Base(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)


def empty_teacher(config: TeacherConfig, dtype: torch.dtype) -> TeacherWeights:
    """Return the places of a teacher's weights on the meta device."""
    with torch.device("meta"):
        return TeacherWeights(config).to(dtype).requires_grad_(requires_grad=False)
