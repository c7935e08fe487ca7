"""The teacher in training form: pre-norm, grouped heads, rotary, SwiGLU, biased q, k, v, o, tied head."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from examples.tiny_pangu.layers import RmsNorm, SwiGlu, causal_bias, rotary_tables, rotate, split_heads
from examples.tiny_pangu.recipe import TeacherShape


class Attention(nn.Module):
    """Grouped attention written out: on a CPU its backward is three times faster than the fused one."""

    def __init__(self, shape: TeacherShape) -> None:
        super().__init__()
        self.shape = shape
        rows, kv_rows = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, rows)
        self.k_proj = nn.Linear(shape.hidden_size, kv_rows)
        self.v_proj = nn.Linear(shape.hidden_size, kv_rows)
        self.o_proj = nn.Linear(rows, shape.hidden_size)

    def forward(self, normed: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
        """Return `[B, T, hidden]` in float32."""
        shape, group = self.shape, self.shape.num_heads // self.shape.num_kv_heads
        query = split_heads(self.q_proj(normed), shape.num_heads, shape.head_dim)
        key = split_heads(self.k_proj(normed), shape.num_kv_heads, shape.head_dim)
        value = split_heads(self.v_proj(normed), shape.num_kv_heads, shape.head_dim)
        query = rotate(query, cos, sin).to(value.dtype)
        key = rotate(key, cos, sin).to(value.dtype).repeat_interleave(group, 1)
        value = value.repeat_interleave(group, 1)
        scores = (query @ key.transpose(-1, -2)).float() * (shape.head_dim**-0.5) + bias
        mixed = scores.softmax(-1).to(value.dtype) @ value
        merged = mixed.transpose(1, 2).reshape(*normed.shape[:2], -1)
        return self.o_proj(merged).float()  # type: ignore[no-any-return]  # torch: Any


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: TeacherShape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = SwiGlu(shape)
        self.input_layernorm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, stream: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
        """Add attention, then the MLP, to the residual stream."""
        stream = stream + self.self_attn(self.input_layernorm(stream), cos, sin, bias)
        return stream + self.mlp(self.post_attention_layernorm(stream))  # type: ignore[no-any-return]  # torch: Any


class Teacher(nn.Module):
    """The whole teacher; parameter names are the canonical ones without the `model.` prefix."""

    cos: Tensor
    sin: Tensor
    bias: Tensor

    def __init__(self, shape: TeacherShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.num_layers))
        self.norm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)
        self._initialise()
        cos, sin = rotary_tables(shape.max_positions, shape.head_dim, shape.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("bias", causal_bias(shape.max_positions), persistent=False)

    @property
    def blocks(self) -> list[Block]:
        """The decoder layers, typed."""
        return [layer for layer in self.layers if isinstance(layer, Block)]

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                std = 0.02 if "embed" in name else 1 / math.sqrt(parameter.shape[1])
                nn.init.normal_(parameter, std=std)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    parameter.data.mul_(1 / math.sqrt(2 * self.shape.num_layers))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[B, T, V]` and tapped features `[B, T, 3 * hidden]`."""
        final, features = self.features(token_ids)
        return nn.functional.linear(final, self.embed_tokens.weight), features

    def features(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return what leaves the final norm `[B, T, hidden]`, and tapped features `[B, T, 3 * hidden]`."""
        num_tokens = token_ids.shape[1]
        cos, sin, bias = self.cos[:num_tokens], self.sin[:num_tokens], self.bias[:num_tokens, :num_tokens]
        stream, taps = self.embed_tokens(token_ids).float(), []
        for number, layer in enumerate(self.layers):
            if number in self.shape.aux_layers:
                taps.append(stream)
            stream = layer(stream, cos, sin, bias)
        return self.norm(stream), torch.cat(taps, -1)


def load_teacher(shape: TeacherShape, state: Mapping[str, Tensor]) -> Teacher:
    """Build a frozen teacher from saved weights."""
    teacher = Teacher(shape)
    teacher.load_state_dict(dict(state))
    return teacher.requires_grad_(False)
