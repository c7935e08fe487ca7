"""Tiny random model pairs for tests: seconds to build, and the drafter is right often enough to matter.

The teacher is a noisy bigram model: its head reads only the first `kv_heads * head_dim` hidden dims, which
the embedding dominates. The drafter's attention is built to look at its own token (query = key = scaled
embedding) and to copy those same dims to its head. So drafter and teacher agree about half of the time, and
every weight is non-zero: no term of either model can be dropped without a test seeing it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from tracing.models import DrafterConfig, ModelPair, RopeConfig, TeacherConfig

Weights = dict[str, torch.Tensor]


def tiny_pair(
    seed: int,
    model_type: str = "llama",
    *,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 4,
    kv_heads: int = 2,
    vocab: int = 64,
    draft_vocab: int = 40,
    head_dim: int | None = None,
    intermediate: int | None = None,
    rope: RopeConfig | None = None,
    drafter_rope: RopeConfig | None = None,
    qkv_bias: bool | None = None,
    o_bias: bool | None = None,
    mlp_bias: bool = False,
    qk_norm: bool | None = None,
    sliding_window: int | None = None,
    windowed_layers: tuple[int, ...] | None = None,
    drafter_window: int = 0,
    aux_layers: tuple[int, int, int] | None = None,
    norm_before_residual: bool = False,
    norm_output: bool = False,
    fc_norm: bool = False,
    norm_before_fc: bool = False,
    drafter_qk_norm: bool = False,
    drafter_qkv_bias: bool = False,
    drafter_o_bias: bool = False,
    noise: float = 0.3,
    max_position_embeddings: int = 512,
    eos_token_ids: Iterable[int] = (),
    dtype: torch.dtype = torch.float32,
) -> ModelPair:
    """Return a random pair whose drafter agrees with the teacher about half of the time at `noise` 0.3.

    Args:
        seed: Everything random follows from it.
        model_type: `llama`, `qwen2`, `qwen3`, `mistral` or `PanguEmbedded`; sets the biases and `qk_norm`
            as that architecture has them, unless given.
        noise: Size of everything that is not the shared bigram map; 0.1 agrees almost always, 1 hardly ever.
        aux_layers: Default `(0, layers // 2, layers - 1)`.
        dtype: Dtype of the returned tensors, as a checkpoint would have it.
    """
    head_dim = head_dim or hidden // heads
    rope = rope or RopeConfig(theta=10000.0)
    pangu = model_type == "PanguEmbedded"
    teacher = TeacherConfig(
        model_type=model_type,
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=intermediate or 2 * hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        rms_norm_eps=1e-5,
        rope=rope,
        max_position_embeddings=max_position_embeddings,
        qkv_bias=(pangu or model_type == "qwen2") if qkv_bias is None else qkv_bias,
        o_bias=pangu if o_bias is None else o_bias,
        mlp_bias=mlp_bias,
        qk_norm=model_type == "qwen3" if qk_norm is None else qk_norm,
        sliding_window=sliding_window,
        windowed_layers=windowed_layers,
    )
    drafter = DrafterConfig(
        hidden_size=hidden,
        target_hidden_size=hidden,
        intermediate_size=intermediate or 2 * hidden,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        rms_norm_eps=1e-5,
        rope=drafter_rope or rope,
        vocab_size=vocab,
        draft_vocab_size=draft_vocab,
        aux_layers=aux_layers or (0, layers // 2, layers - 1),
        max_position_embeddings=max_position_embeddings,
        norm_before_residual=norm_before_residual,
        norm_output=norm_output,
        fc_norm=fc_norm,
        norm_before_fc=norm_before_fc,
        qk_norm=drafter_qk_norm,
        qkv_bias=drafter_qkv_bias,
        o_bias=drafter_o_bias,
        window=drafter_window,
    )
    random = torch.Generator().manual_seed(seed)
    target_from_draft = torch.randperm(vocab, generator=random)[:draft_vocab].sort().values
    teacher_weights = _teacher_weights(teacher, noise, random)
    undraftable = torch.ones(vocab, dtype=torch.bool).index_fill(0, target_from_draft, value=False)
    teacher_weights["lm_head.weight"][undraftable] *= 0.6  # chosen now and then, not every other time
    drafter_weights = _drafter_weights(drafter, teacher_weights, target_from_draft, noise, random)
    return ModelPair(
        teacher=teacher,
        teacher_weights={name: tensor.to(dtype) for name, tensor in teacher_weights.items()},
        drafter=drafter,
        drafter_weights={name: tensor.to(dtype) for name, tensor in drafter_weights.items()},
        target_from_draft=target_from_draft,
        eos_token_ids=frozenset(eos_token_ids),
    )


def _normal(random: torch.Generator, *shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=random) * scale


def _norm_weight(random: torch.Generator, size: int) -> torch.Tensor:
    return 1.0 + _normal(random, size, scale=0.05)


def _block(
    prefix: str, config: TeacherConfig | DrafterConfig, input_size: int, noise: float, random: torch.Generator
) -> Weights:
    """Weights of attention and MLP, each output of size about `noise`."""
    hidden, intermediate = config.hidden_size, config.intermediate_size
    q_size, kv_size = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes = {
        "self_attn.q_proj": (q_size, input_size, config.qkv_bias),
        "self_attn.k_proj": (kv_size, input_size, config.qkv_bias),
        "self_attn.v_proj": (kv_size, input_size, config.qkv_bias),
        "self_attn.o_proj": (hidden, q_size, config.o_bias),
        "mlp.gate_proj": (intermediate, hidden, getattr(config, "mlp_bias", False)),
        "mlp.up_proj": (intermediate, hidden, getattr(config, "mlp_bias", False)),
        "mlp.down_proj": (hidden, intermediate, getattr(config, "mlp_bias", False)),
    }
    weights: Weights = {}
    for name, (rows, columns, has_bias) in shapes.items():
        gain = noise if name.endswith(("o_proj", "down_proj")) else 1.0
        weights[f"{prefix}.{name}.weight"] = _normal(random, rows, columns, scale=gain * columns**-0.5)
        if has_bias:
            weights[f"{prefix}.{name}.bias"] = _normal(random, rows, scale=0.2 * gain)
    if config.qk_norm:
        weights[f"{prefix}.self_attn.q_norm.weight"] = _norm_weight(random, config.head_dim)
        weights[f"{prefix}.self_attn.k_norm.weight"] = _norm_weight(random, config.head_dim)
    weights[f"{prefix}.input_layernorm.weight"] = _norm_weight(random, hidden)
    weights[f"{prefix}.post_attention_layernorm.weight"] = _norm_weight(random, hidden)
    return weights


def _teacher_weights(config: TeacherConfig, noise: float, random: torch.Generator) -> Weights:
    shared = min(config.num_kv_heads * config.head_dim, config.hidden_size)
    embedding = _normal(random, config.vocab_size, config.hidden_size)
    for lane in range(0, shared, config.head_dim):  # equally long in every head: a token is most like itself
        part = embedding[:, lane : lane + config.head_dim]
        part *= (part.shape[1] / part.square().sum(dim=1, keepdim=True)).sqrt()
    weights: Weights = {
        "model.embed_tokens.weight": embedding,
        "model.norm.weight": _norm_weight(random, config.hidden_size),
    }
    head = _normal(random, config.vocab_size, config.hidden_size)
    head[:, shared:] *= 0.5 * noise
    weights["lm_head.weight"] = head
    for layer in range(config.num_layers):
        weights |= _block(f"model.layers.{layer}", config, config.hidden_size, noise, random)
    return weights


def _drafter_weights(
    config: DrafterConfig,
    teacher: Weights,
    target_from_draft: torch.Tensor,
    noise: float,
    random: torch.Generator,
) -> Weights:
    hidden, target_hidden = config.hidden_size, config.target_hidden_size
    weights: Weights = {
        "embed_tokens.weight": teacher["model.embed_tokens.weight"].clone(),
        "fc.weight": _normal(random, hidden, 3 * target_hidden, scale=noise * (3 * target_hidden) ** -0.5),
        "midlayer.hidden_norm.weight": _norm_weight(random, hidden),
        "norm.weight": _norm_weight(random, hidden),
        "lm_head.weight": teacher["lm_head.weight"][target_from_draft].clone(),
    }
    for tap in range(3) if config.fc_norm else ():
        weights[f"fc_norm.{tap}.weight"] = _norm_weight(random, target_hidden)
    if config.norm_before_fc:
        weights["input_norm.weight"] = _norm_weight(random, 3 * target_hidden)
    weights |= _block("midlayer", config, 2 * hidden, noise, random)
    _copy_own_token(weights, config, noise)
    return weights


def _copy_own_token(weights: Weights, config: DrafterConfig, noise: float) -> None:
    """Add to the noise: look at the own token (query = key), copy its first dims to the residual stream."""
    head_dim, group = config.head_dim, config.num_heads // config.num_kv_heads
    for name in ("q_proj", "k_proj", "v_proj"):
        weights[f"midlayer.self_attn.{name}.weight"] *= noise
    for kv_head in range(config.num_kv_heads):
        for lane in range(head_dim):
            source = kv_head * head_dim + lane
            if source >= config.hidden_size:
                continue
            weights["midlayer.self_attn.k_proj.weight"][source, source] += 4.0
            weights["midlayer.self_attn.v_proj.weight"][source, source] += 1.0
            for head in range(kv_head * group, (kv_head + 1) * group):
                column = head * head_dim + lane
                weights["midlayer.self_attn.q_proj.weight"][column, source] += 4.0
                weights["midlayer.self_attn.o_proj.weight"][source, column] += 2.0 / group
