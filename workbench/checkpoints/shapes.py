"""The tensors that a configuration asks for, canonical name to shape, and matching a file with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from tracing.errors import CheckpointError
from tracing.models import DrafterConfig, TeacherConfig
from workbench.checkpoints.json_text import shown

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


def _teacher_mlp(prefix: str, config: TeacherConfig) -> Shapes:
    hidden, experts = config.hidden_size, config.experts
    if experts is None:
        return _mlp(prefix, hidden, config.intermediate_size, bias=config.mlp_bias)
    shapes: Shapes = {
        f"{prefix}.gate.weight": (experts.num_experts, hidden),
        f"{prefix}.router_scale": (1, experts.num_experts),
    }
    for number in range(experts.num_experts):
        shapes |= _mlp(f"{prefix}.experts.{number}", hidden, experts.width, bias=False)
    return shapes | _mlp(f"{prefix}.shared_expert", hidden, experts.shared_width, bias=False)


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
        shapes |= _teacher_mlp(f"{prefix}.mlp", config)
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


@dataclass(frozen=True, slots=True)
class Matched:
    """The outcome of matching.

    Attributes:
        weights: Tensors under canonical names, exactly those that the configuration asks for.
        unexpected: Names in the file that nothing asked for, sorted.
        ignored: Names that are known and left out on purpose, sorted.
    """

    weights: Mapping[str, torch.Tensor]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]


def match(
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, torch.Tensor],
    *,
    ignore: Callable[[str], bool],
    written: Callable[[str], str] = str,
) -> Matched:
    """Match by name, then check shape and kind of number.

    Args:
        wanted: Canonical name to shape.
        found: Canonical (or unknown) name to tensor.
        ignore: True for names that are known and left out on purpose.
        written: Canonical name to what the file calls it, or would call it.

    Raises:
        CheckpointError: Names the first tensor that is missing, misshapen or not floating point.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(f"{written(missing[0])} is missing{more}; {_instead(wanted, found, written)}")
    for name, shape in wanted.items():
        check_tensor(written(name), found[name], shape)
    others = sorted(name for name in found if name not in wanted)
    return Matched(
        weights={name: found[name] for name in wanted},
        unexpected=tuple(name for name in others if not ignore(name)),
        ignored=tuple(name for name in others if ignore(name)),
    )


def _instead(wanted: Mapping[str, object], found: Mapping[str, object], written: Callable[[str], str]) -> str:
    """Say what the file has in place of what is missing."""
    foreign = sorted(written(name) for name in found if name not in wanted)
    if not foreign:
        return f"the file holds {len(found)} of the {len(wanted)} tensors"
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    return f"the file holds {shown(foreign[0])}{more}, which mean nothing here"


def check_tensor(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Check shape and kind of number of one tensor.

    Raises:
        CheckpointError: Names the tensor, what came and what the configuration asks for.
    """
    if tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"{name} has shape {shown(list(tensor.shape))}, but config.json asks for {list(shape)}"
        )
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise CheckpointError(f"{name} has dtype {tensor.dtype}; expected float16, bfloat16 or float32")
