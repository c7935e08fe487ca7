"""The tensors that a configuration asks for: canonical name to shape."""

from __future__ import annotations

from tracing.models import DrafterConfig, TeacherConfig

Shapes = dict[str, tuple[int, ...]]


def _attention(
    prefix: str,
    *,
    width_in: int,
    width_out: int,
    heads: tuple[int, int, int],
    qkv_bias: bool,
    o_bias: bool,
    qk_norm: bool,
) -> Shapes:
    num_heads, num_kv_heads, head_dim = heads
    rows = {"q": num_heads * head_dim, "k": num_kv_heads * head_dim, "v": num_kv_heads * head_dim}
    shapes: Shapes = {}
    for name, num_rows in rows.items():
        shapes[f"{prefix}.{name}_proj.weight"] = (num_rows, width_in)
        if qkv_bias:
            shapes[f"{prefix}.{name}_proj.bias"] = (num_rows,)
    shapes[f"{prefix}.o_proj.weight"] = (width_out, num_heads * head_dim)
    if o_bias:
        shapes[f"{prefix}.o_proj.bias"] = (width_out,)
    if qk_norm:
        shapes |= {f"{prefix}.{name}_norm.weight": (head_dim,) for name in "qk"}
    return shapes


def _mlp(prefix: str, hidden: int, inner: int, *, bias: bool) -> Shapes:
    rows = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
    shapes: Shapes = {f"{prefix}.{name}_proj.weight": shape for name, shape in rows.items()}
    if bias:
        shapes |= {f"{prefix}.{name}_proj.bias": (shape[0],) for name, shape in rows.items()}
    return shapes


def teacher_shapes(config: TeacherConfig) -> Shapes:
    """Return every tensor under `TEACHER_KEYS`; `lm_head.weight` is listed even when tied."""
    hidden = config.hidden_size
    shapes: Shapes = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for layer in range(config.num_layers):
        prefix = f"model.layers.{layer}"
        shapes[f"{prefix}.input_layernorm.weight"] = (hidden,)
        shapes |= _attention(
            f"{prefix}.self_attn",
            width_in=hidden,
            width_out=hidden,
            heads=(config.num_heads, config.num_kv_heads, config.head_dim),
            qkv_bias=config.qkv_bias,
            o_bias=config.o_bias,
            qk_norm=config.qk_norm,
        )
        shapes[f"{prefix}.post_attention_layernorm.weight"] = (hidden,)
        shapes |= _mlp(f"{prefix}.mlp", hidden, config.intermediate_size, bias=config.mlp_bias)
    shapes["model.norm.weight"] = (hidden,)
    shapes["lm_head.weight"] = (config.vocab_size, hidden)
    return shapes


def drafter_shapes(config: DrafterConfig) -> Shapes:
    """Return every tensor under `DRAFTER_KEYS` that this drafter must have, its embeddings included."""
    hidden, taps = config.hidden_size, 3 * config.target_hidden_size
    shapes: Shapes = {
        "embed_tokens.weight": (config.vocab_size, hidden),
        "fc.weight": (hidden, taps),
        "midlayer.hidden_norm.weight": (hidden,),
        "midlayer.input_layernorm.weight": (hidden,),
        "midlayer.post_attention_layernorm.weight": (hidden,),
        "norm.weight": (hidden,),
        "lm_head.weight": (config.draft_vocab_size, hidden),
    }
    if config.fc_norm:
        shapes |= {f"fc_norm.{tap}.weight": (config.target_hidden_size,) for tap in range(3)}
    if config.norm_before_fc:
        shapes["input_norm.weight"] = (taps,)
    shapes |= _attention(
        "midlayer.self_attn",
        width_in=2 * hidden,
        width_out=hidden,
        heads=(config.num_heads, config.num_kv_heads, config.head_dim),
        qkv_bias=config.qkv_bias,
        o_bias=config.o_bias,
        qk_norm=config.qk_norm,
    )
    return shapes | _mlp("midlayer.mlp", hidden, config.intermediate_size, bias=False)
