"""config.json of an EAGLE-3 drafter and its file's names to one `DrafterConfig`, with what is doubtful."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from tracing.errors import CheckpointError
from tracing.models import DrafterConfig, TeacherConfig
from workbench.checkpoints.aux_ids import AuxLayers
from workbench.checkpoints.config_values import block, flag, head_layout, names, real, whole
from workbench.checkpoints.json_text import shown
from workbench.checkpoints.layouts import Layout
from workbench.checkpoints.rope import rope_from_config
from workbench.checkpoints.teacher import QWEN3_HEAD_DIM

INNER_TYPES: Final = ("llama", "qwen2", "qwen3", "mistral", "phi3")
ATTENTION: Final = "midlayer.self_attn"
NORM_FLAGS: Final = ("norm_before_residual", "norm_before_fc", "fc_norm", "norm_output")
SLIDING, FULL = "sliding_attention", "full_attention"
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class ReadDrafter:
    """A drafter's configuration.

    Attributes:
        config: What the paths compute with.
        doubts: Sentences about keys that were not taken at their word.
    """

    config: DrafterConfig
    doubts: tuple[str, ...]


def read_drafter_config(
    config: Mapping[str, Any], layout: Layout, named: Tensors, teacher: TeacherConfig, aux: AuxLayers
) -> ReadDrafter:
    """Read config.json; what only the file can tell (biases, q and k norms) is told by its names.

    Raises:
        CheckpointError: A value that cannot be, or that is not supported.
    """
    inner = layout.inner_config(config)
    model_type = inner.get("model_type", "llama")
    if model_type not in INNER_TYPES:
        raise CheckpointError(
            f"drafter block type should be one of {', '.join(INNER_TYPES)}, got {shown(model_type)}"
        )
    doubts: list[str] = []
    _depth(inner, doubts)
    window = attention_window(inner, str(model_type), doubts)
    flags = {key: _norm_flag(config, key) for key in NORM_FLAGS}
    if layout.boundaries and config.get("norm_before_residual") is None:
        doubts.append("norm_before_residual is not written, false is used; some readers take true")
    if flags["norm_before_fc"] and flags["fc_norm"]:
        raise CheckpointError("config.json: norm_before_fc and fc_norm exclude each other, both are true")
    promised_qk_norm = layout.boundaries and model_type == "qwen3"
    num_heads, num_kv_heads, head_dim = _heads(inner, str(model_type), named)
    vocab_size = whole(inner, "vocab_size", teacher.vocab_size)
    qkv_bias, o_bias = _biases(inner, named, doubts)
    flag(inner, "tie_word_embeddings")  # the file's own head counts, and it must have one
    read = DrafterConfig(
        hidden_size=whole(inner, "hidden_size"),
        target_hidden_size=whole(config, "target_hidden_size", teacher.hidden_size),
        intermediate_size=whole(inner, "intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        rms_norm_eps=real(inner, "rms_norm_eps", 1e-6, most=1.0),
        rope=rope_from_config(inner),
        vocab_size=vocab_size,
        draft_vocab_size=whole(config, "draft_vocab_size", vocab_size),
        aux_layers=aux.entering,
        max_position_embeddings=whole(inner, "max_position_embeddings", 2048),
        **flags,
        qk_norm=promised_qk_norm or f"{ATTENTION}.q_norm.weight" in named,
        qkv_bias=qkv_bias,
        o_bias=o_bias,
        window=window or 0,
    )
    return ReadDrafter(read, tuple(doubts))


def _depth(inner: Mapping[str, Any], doubts: list[str]) -> None:
    """A drafter's file has one layer, whatever number its configuration copied from the teacher."""
    layers = whole(inner, "num_hidden_layers", 1)
    if layers != 1:
        doubts.append(f"num_hidden_layers is {layers}, the file holds one layer")


def _norm_flag(config: Mapping[str, Any], key: str) -> bool:
    """Read a norm flag from the top level or, as some exports have it, from `eagle_config`."""
    nested = block(config, "eagle_config")
    value = flag(config, key, flag(nested, key))
    if nested.get(key) is not None and value != flag(nested, key):
        raise CheckpointError(f"config.json: {key} is {value} and eagle_config.{key} is {not value}")
    return value


def _heads(inner: Mapping[str, Any], model_type: str, named: Tensors) -> tuple[int, int, int]:
    """Return (heads, kv heads, head dim); of two defaults the file's number of rows chooses."""
    query = named.get(f"{ATTENTION}.q_proj.weight")
    default = None
    if model_type == "qwen3" and query is not None and query.dim() == 2:
        rows = whole(inner, "num_attention_heads") * QWEN3_HEAD_DIM
        default = QWEN3_HEAD_DIM if query.shape[0] == rows else None
    layout = head_layout(inner, default)
    written = inner.get("attention_head_dim")
    if written is not None and written != layout[2]:
        raise CheckpointError(f"config.json: attention_head_dim is {shown(written)}, head_dim {layout[2]}")
    return layout


def _biases(inner: Mapping[str, Any], named: Tensors, doubts: list[str]) -> tuple[bool, bool]:
    """Return whether q, k, v and whether o have biases: what is promised must be there, more may be."""
    promised = flag(inner, "attention_bias")
    qkv = (
        promised or flag(inner, "qkv_bias") or any(f"{ATTENTION}.{name}_proj.bias" in named for name in "qkv")
    )
    o = promised or f"{ATTENTION}.o_proj.bias" in named
    if flag(inner, "bias") and not (qkv or o):
        doubts.append("config.json says bias, the file holds none")
    return qkv, o


def attention_window(inner: Mapping[str, Any], model_type: str, doubts: list[str]) -> int | None:
    """Return the attention window of the drafter's layer in tokens, None for full attention.

    Args:
        inner: The block's configuration.
        model_type: Its type.
        doubts: Receives a sentence about a window that nothing turns on.

    Raises:
        CheckpointError: A window without a size, or keys that cannot be.
    """
    size = inner.get("sliding_window")
    size = None if size is None else whole(inner, "sliding_window")
    on, why = _window_is_on(inner, model_type)
    if on and size is None:
        raise CheckpointError(f"config.json: {why}, but sliding_window is not written")
    if size is None or size >= whole(inner, "max_position_embeddings", 2048):
        return None
    if not on and not why:
        doubts.append(f"sliding_window is {size}, nothing turns it on; full attention is used")
    return size if on else None


def _window_is_on(inner: Mapping[str, Any], model_type: str) -> tuple[bool, str]:
    """Return whether the one layer has a window, and the key that says so or that it has not."""
    kinds = names(inner, "layer_types")
    if kinds:
        if not set(kinds) <= {SLIDING, FULL}:
            raise CheckpointError(
                f"config.json: layer_types should be {SLIDING} or {FULL}, got {shown(kinds)}"
            )
        return kinds[0] == SLIDING, f"layer_types says {kinds[0]}"
    if inner.get("use_sliding_window") is not None:
        on = flag(inner, "use_sliding_window")
        first = inner.get("max_window_layers")
        if on and model_type in {"qwen2", "qwen3"} and first != 0:
            first = whole(inner, "max_window_layers", 28)
            return False, f"max_window_layers {first} leaves the first layer without a window"
        return on, "use_sliding_window is true" if on else "use_sliding_window is false"
    if inner.get("sliding_window") is not None and model_type in {"mistral", "phi3"}:
        return True, f"a {model_type} block has a window"
    return False, ""
