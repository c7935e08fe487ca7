"""The EAGLE-3 drafter in training form, with its training-time test.

Row j pairs feature j with token j + 1 at position j. Step 0 reads teacher features; each further step
reads the drafter's own un-normed output and sees, beside the step-0 rows, only its own chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from examples.tiny_pangu.layers import RmsNorm, SwiGlu, Tables, rotate, split_heads
from examples.tiny_pangu.recipe import TeacherShape


@dataclass
class ChainMemory:
    """Keys and values `[B, heads, T, head_dim]` of one rollout: step 0, then one pair per further step."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


class DrafterAttention(nn.Module):
    """Attention over `[norm(embedding); norm(feature)]`, without biases."""

    def __init__(self, shape: TeacherShape) -> None:
        super().__init__()
        self.shape = shape
        rows, kv_rows = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        self.q_proj = nn.Linear(2 * shape.hidden_size, rows, bias=False)
        self.k_proj = nn.Linear(2 * shape.hidden_size, kv_rows, bias=False)
        self.v_proj = nn.Linear(2 * shape.hidden_size, kv_rows, bias=False)
        self.o_proj = nn.Linear(rows, shape.hidden_size, bias=False)

    def forward(self, pair: Tensor, tables: Tables, memory: ChainMemory) -> Tensor:
        """Return `[B, T, hidden]` and remember this step's keys and values."""
        shape, group = self.shape, self.shape.num_heads // self.shape.num_kv_heads
        query = split_heads(self.q_proj(pair), shape.num_heads, shape.head_dim)
        key = split_heads(self.k_proj(pair), shape.num_kv_heads, shape.head_dim)
        value = split_heads(self.v_proj(pair), shape.num_kv_heads, shape.head_dim)
        query = rotate(query, tables.cos, tables.sin).to(value.dtype)
        key = rotate(key, tables.cos, tables.sin).to(value.dtype)
        memory.keys.append(key.repeat_interleave(group, 1))
        memory.values.append(value.repeat_interleave(group, 1))
        mixed = self._mix(query, tables.bias, memory)
        merged = mixed.to(value.dtype).transpose(1, 2).reshape(*pair.shape[:2], -1)
        return self.o_proj(merged).float()  # type: ignore[no-any-return]

    def _mix(self, query: Tensor, bias: Tensor, memory: ChainMemory) -> Tensor:
        scale, num_tokens = self.shape.head_dim**-0.5, query.shape[2]
        scores = (query @ memory.keys[0].transpose(-1, -2)).float() * scale + bias
        own = [(query.float() * key.float()).sum(-1, keepdim=True) * scale for key in memory.keys[1:]]
        weights = torch.cat([scores, *own], -1).softmax(-1)
        mixed = (weights[..., :num_tokens].to(query.dtype) @ memory.values[0]).float()
        for number, value in enumerate(memory.values[1:]):
            column = num_tokens + number
            mixed = mixed + weights[..., column : column + 1] * value.float()
        return mixed


class Midlayer(nn.Module):
    """The drafter's only decoder layer."""

    def __init__(self, shape: TeacherShape) -> None:
        super().__init__()
        self.self_attn = DrafterAttention(shape)
        self.mlp = SwiGlu(shape)
        self.hidden_norm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)
        self.input_layernorm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, embedding: Tensor, feature: Tensor, tables: Tables, memory: ChainMemory) -> Tensor:
        """Return the un-normed output; the residual is the un-normed feature."""
        pair = torch.cat([self.input_layernorm(embedding), self.hidden_norm(feature)], -1)
        stream = feature + self.self_attn(pair, tables, memory)
        return stream + self.mlp(self.post_attention_layernorm(stream))  # type: ignore[no-any-return]


class Drafter(nn.Module):
    """The drafter; parameter names are those of the official layout.

    Args:
        shape: Shape of the teacher.
        target_from_draft: int64 `[Vd]`, ascending.
        teacher_head: `[V, hidden]`; its kept rows are where the drafter's head starts.
    """

    target_from_draft: Tensor

    def __init__(self, shape: TeacherShape, target_from_draft: Tensor, teacher_head: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.fc = nn.Linear(3 * shape.hidden_size, shape.hidden_size, bias=False)
        self.midlayer = Midlayer(shape)
        self.norm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)
        self.lm_head = nn.Linear(shape.hidden_size, len(target_from_draft), bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))
        self.lm_head.weight.data.copy_(teacher_head[target_from_draft])
        self.register_buffer("target_from_draft", target_from_draft.clone())


@dataclass(frozen=True)
class Rollout:
    """What the training-time test reads.

    Attributes:
        embeddings: Teacher embedding matrix `[V, hidden]`.
        token_ids: `[B, T]`.
        features: Tapped teacher features `[B, T, 3 * hidden]`.
        targets: Wanted distribution over draft ids after each token, `[B, T, Vd]`.
        cos, sin, bias: Tables of the teacher.
    """

    embeddings: Tensor
    token_ids: Tensor
    features: Tensor
    targets: Tensor
    cos: Tensor
    sin: Tensor
    bias: Tensor


def rollout_loss(drafter: Drafter, data: Rollout, num_steps: int, decay: float) -> tuple[Tensor, Tensor]:
    """Return the weighted cross-entropy and the share of equal first choices per step, `[num_steps]`."""
    num_rows = data.token_ids.shape[1] - 1 - num_steps  # rows that have a target at every step
    feature = drafter.fc(data.features[:, :num_rows]).float()
    memory, total, agreed = ChainMemory(), torch.zeros(()), []
    for step in range(num_steps):
        following = slice(1 + step, 1 + step + num_rows)
        positions = slice(step, step + num_rows)
        tables = Tables(data.cos[positions], data.sin[positions], data.bias[:num_rows, :num_rows])
        embedding = data.embeddings[data.token_ids[:, following]].float()
        feature = drafter.midlayer(embedding, feature, tables, memory)
        logits = drafter.lm_head(drafter.norm(feature)).float()
        target = data.targets[:, following].float()
        total = total + decay**step * -(target * logits.log_softmax(-1)).sum(-1).mean()
        agreed.append((logits.argmax(-1) == target.argmax(-1)).float().mean())
    return total / sum(decay**step for step in range(num_steps)), torch.stack(agreed)
