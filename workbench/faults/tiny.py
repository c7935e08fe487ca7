"""A tiny random pair: a noisy bigram teacher, and a drafter that agrees half of the time.

The teacher's next token is mostly a function of its last one. The drafter attends to its own token (query
equals key), carries that token's embedding to its head, and shares the head's rows: right often enough that
trees are accepted, wrong often enough that they are rejected. Every weight is non-zero, so that no term is
without effect.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from tracing.models import DrafterConfig, ModelPair, RopeConfig, TeacherConfig

Weights = dict[str, Tensor]

VOCAB: Final = 64
DRAFT_VOCAB: Final = 40
HIDDEN: Final = 32
HEADS: Final = 4
KV_HEADS: Final = 2
HEAD_DIM: Final = 16
"""The fused attention operator takes multiples of 16; two KV heads of 16 carry the whole embedding."""
MAX_POSITIONS: Final = 1024
NOISE: Final = 0.3
"""Size of everything that is not the shared bigram map; at 1 the drafter is hardly ever right."""
SIZES: Final[dict[str, Any]] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_heads": HEADS,
    "num_kv_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "rms_norm_eps": 1e-5,
    "rope": RopeConfig(theta=10000.0),
    "max_position_embeddings": MAX_POSITIONS,
}
"""What the configurations of teacher and drafter have in common."""


def tiny_pair(seed: int = 17, *, layers: int = 2, aux_layers: tuple[int, int, int] = (0, 1, 2)) -> ModelPair:
    """Return a pair of which everything random follows from `seed`; weights are float32."""
    random = torch.Generator().manual_seed(seed)
    teacher = TeacherConfig(
        **SIZES, model_type="PanguEmbedded", num_layers=layers, qkv_bias=True, o_bias=True
    )
    drafter = DrafterConfig(
        **SIZES, target_hidden_size=HIDDEN, draft_vocab_size=DRAFT_VOCAB, aux_layers=aux_layers
    )
    target_from_draft = torch.randperm(VOCAB, generator=random)[:DRAFT_VOCAB].sort().values
    teacher_weights = _teacher_weights(layers, target_from_draft, random)
    return ModelPair(
        teacher=teacher,
        teacher_weights=teacher_weights,
        drafter=drafter,
        drafter_weights=_drafter_weights(teacher_weights, target_from_draft, random),
        target_from_draft=target_from_draft,
    )


def token_bytes(token_id: int) -> bytes:
    """Return the bytes of a token in a recorded vocabulary: two letters."""
    high, low = divmod(token_id, 8)
    return bytes([97 + high % 26, 97 + low, 32])


def _normal(random: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=random) * scale


def _norm_weight(random: torch.Generator) -> Tensor:
    return 1.0 + _normal(random, HIDDEN, scale=0.05)


def _block(prefix: str, input_size: int, random: torch.Generator, *, bias: bool) -> Weights:
    """Weights of attention and MLP of one layer; what they add to the residual stream is of size `NOISE`."""
    shapes = {
        "self_attn.q_proj": (HEADS * HEAD_DIM, input_size),
        "self_attn.k_proj": (KV_HEADS * HEAD_DIM, input_size),
        "self_attn.v_proj": (KV_HEADS * HEAD_DIM, input_size),
        "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
        "mlp.gate_proj": (2 * HIDDEN, HIDDEN),
        "mlp.up_proj": (2 * HIDDEN, HIDDEN),
        "mlp.down_proj": (HIDDEN, 2 * HIDDEN),
    }
    weights: Weights = {}
    for name, (rows, columns) in shapes.items():
        gain = NOISE if name.endswith(("o_proj", "down_proj")) else 1.0
        weights[f"{prefix}.{name}.weight"] = _normal(random, rows, columns, scale=gain * columns**-0.5)
        if bias and "self_attn" in name:
            weights[f"{prefix}.{name}.bias"] = _normal(random, rows, scale=0.2 * gain)
    weights[f"{prefix}.input_layernorm.weight"] = _norm_weight(random)
    weights[f"{prefix}.post_attention_layernorm.weight"] = _norm_weight(random)
    return weights


def _teacher_weights(layers: int, target_from_draft: Tensor, random: torch.Generator) -> Weights:
    embedding = _normal(random, VOCAB, KV_HEADS, HEAD_DIM)
    embedding *= HEAD_DIM**0.5 / embedding.norm(dim=-1, keepdim=True)  # in every head most like itself
    head = _normal(random, VOCAB, HIDDEN)
    undraftable = torch.ones(VOCAB, dtype=torch.bool)
    undraftable[target_from_draft] = False
    head[undraftable] *= 0.6  # chosen now and then, not every other time
    weights: Weights = {
        "model.embed_tokens.weight": embedding.flatten(1),
        "model.norm.weight": _norm_weight(random),
        "lm_head.weight": head,
    }
    for layer in range(layers):
        weights |= _block(f"model.layers.{layer}", HIDDEN, random, bias=True)
    return weights


def _drafter_weights(teacher: Weights, target_from_draft: Tensor, random: torch.Generator) -> Weights:
    weights: Weights = {
        "embed_tokens.weight": teacher["model.embed_tokens.weight"].clone(),
        "fc.weight": _normal(random, HIDDEN, 3 * HIDDEN, scale=NOISE * (3 * HIDDEN) ** -0.5),
        "midlayer.hidden_norm.weight": _norm_weight(random),
        "norm.weight": _norm_weight(random),
        "lm_head.weight": teacher["lm_head.weight"][target_from_draft].clone(),
    }
    weights |= _block("midlayer", 2 * HIDDEN, random, bias=False)
    _copy_own_token(weights)
    return weights


def _copy_own_token(weights: Weights) -> None:
    """On top of the noise: attend to the own token, and carry its embedding to the residual stream."""
    own = torch.eye(KV_HEADS * HEAD_DIM, 2 * HIDDEN)  # the first half of the input is the embedding
    group = HEADS // KV_HEADS
    per_query_head = own.view(KV_HEADS, HEAD_DIM, -1).repeat_interleave(group, dim=0).flatten(0, 1)
    for name, map_ in (("q", 4.0 * per_query_head), ("k", 4.0 * own), ("v", own)):
        key = f"midlayer.self_attn.{name}_proj.weight"
        weights[key] = NOISE * weights[key] + map_
    weights["midlayer.self_attn.o_proj.weight"] += (2.0 / group) * per_query_head[:, :HIDDEN].T
