"""The places of a teacher's weights: plain modules under the names of a checkpoint, without memory.

They are those of a transformers model, whose library they spare: importing it takes as long as twenty steps.
Nothing is drawn for them either: to draw without memory torch imports its compiler, which takes as long.
"""

from __future__ import annotations

import torch
from torch import nn

from tracing.models import TeacherConfig


class _Weight(nn.Module):
    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns))


class _Linear(_Weight):
    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__(out_features, in_features)
        self.in_features, self.out_features = in_features, out_features
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None


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
        self.q_proj = _Linear(hidden, inner, bias=config.qkv_bias)
        self.k_proj = _Linear(hidden, config.num_kv_heads * config.head_dim, bias=config.qkv_bias)
        self.v_proj = _Linear(hidden, config.num_kv_heads * config.head_dim, bias=config.qkv_bias)
        self.o_proj = _Linear(inner, hidden, bias=config.o_bias)
        if config.qk_norm:
            self.q_norm = _Norm(config.head_dim, config.rms_norm_eps)
            self.k_norm = _Norm(config.head_dim, config.rms_norm_eps)


class _Mlp(nn.Module):
    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = _Linear(hidden, inner, bias=config.mlp_bias)
        self.up_proj = _Linear(hidden, inner, bias=config.mlp_bias)
        self.down_proj = _Linear(inner, hidden, bias=config.mlp_bias)


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
        self.embed_tokens = _Weight(config.vocab_size, config.hidden_size)
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
        self.lm_head = _Linear(config.hidden_size, config.vocab_size, bias=False)


def empty_teacher(config: TeacherConfig, dtype: torch.dtype) -> TeacherWeights:
    """Return the places of a teacher's weights on the meta device."""
    with torch.device("meta"):
        return TeacherWeights(config).to(dtype).requires_grad_(requires_grad=False)
