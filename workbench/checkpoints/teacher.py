"""Teacher directory to plain data: one configuration and tensors under `TEACHER_KEYS`.

The block is the pre-norm Llama block; Qwen2, Qwen3, Mistral and openPangu-Embedded are variants of it
(openPangu: biases on q, k, v and o), so none of them needs code from the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from tracing.errors import CheckpointError
from tracing.models import Experts, TeacherConfig
from workbench.checkpoints.config_keys import MOE_TEACHER, TEACHER, KeyTable, audit
from workbench.checkpoints.config_values import flag, head_layout, names, real, whole
from workbench.checkpoints.json_text import shown
from workbench.checkpoints.rope import rope_from_config, uses_sections
from workbench.checkpoints.shapes import Matched, match, teacher_shapes

PANGU: Final = "PanguEmbedded"
PANGU_MOE: Final = "PanguProMoE"
KNOWN_TYPES: Final = ("llama", "mistral", "qwen2", "qwen3", PANGU, PANGU_MOE)
IGNORED_SUFFIX: Final = "rotary_emb.inv_freq"
"""A buffer that older files store; it is recomputed from the rotary parameters."""

MAX_LAYERS: Final = 4096
ACTIVATIONS: Final = frozenset({"hidden_act", "hidden_activation"})
QWEN3_HEAD_DIM: Final = 128
MISTRAL_WINDOW: Final = 4096
QWEN_WINDOW: Final = 4096
QWEN_FULL_LAYERS: Final = 28
"""What transformers assumes when the key is absent from a config of that type."""


def teacher_config(config: Mapping[str, Any]) -> TeacherConfig:
    """Translate config.json.

    Raises:
        CheckpointError: An unknown architecture, a quantised checkpoint, or a value that cannot be.
    """
    model_type = model_type_of(config)
    audit(config, table_of(config))
    num_heads, num_kv_heads, head_dim = head_layout(config, QWEN3_HEAD_DIM if model_type == "qwen3" else None)
    qkv_bias, o_bias, mlp_bias = _biases(model_type, config)
    num_layers = whole(config, "num_hidden_layers", most=MAX_LAYERS)
    window, layers = _windows(model_type, config, num_layers)
    experts = experts_of(config) if model_type == PANGU_MOE else None
    return TeacherConfig(
        model_type=model_type,
        vocab_size=whole(config, "vocab_size"),
        hidden_size=whole(config, "hidden_size"),
        intermediate_size=whole(
            config, "intermediate_size", None if experts is None else experts.shared_width
        ),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        rms_norm_eps=real(config, "rms_norm_eps", 1e-6, most=1.0),
        rope=rope_from_config(config),
        max_position_embeddings=whole(config, "max_position_embeddings"),
        tie_word_embeddings=flag(config, "tie_word_embeddings"),
        qkv_bias=qkv_bias,
        o_bias=o_bias,
        mlp_bias=mlp_bias,
        qk_norm=model_type == "qwen3",
        sliding_window=window,
        windowed_layers=layers,
        hf_config=_crossing(config),
        experts=experts,
    )


def table_of(config: Mapping[str, Any]) -> KeyTable:
    """Return the keys of a teacher's config.json."""
    return MOE_TEACHER if model_type_of(config) == PANGU_MOE else TEACHER


def _crossing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of config.json that a path may build a model from: what was read and checked here."""
    left_out = {"rope_scaling", "rope_parameters"} if uses_sections(config) else set()
    left_out |= {"quantization_config"}  # says how layers are stored, and is read as `quantisation`
    kept = (TEACHER.read - left_out) | ACTIVATIONS
    return {key: value for key, value in config.items() if key in kept}


def model_type_of(config: Mapping[str, Any]) -> str:
    """Return the supported model type, also when only `architectures` names openPangu.

    Raises:
        CheckpointError: A type that no supported block covers.
    """
    classes = names(config, "architectures")
    if config.get("model_type") == PANGU or "PanguEmbeddedForCausalLM" in classes:
        return PANGU
    if config.get("model_type") == PANGU_MOE or "PanguProMoEForCausalLM" in classes:
        return PANGU_MOE
    model_type = config.get("model_type")
    if model_type not in KNOWN_TYPES:
        remote = "; it brings its own code (auto_map), which is not run" if "auto_map" in config else ""
        raise CheckpointError(
            f"config.json: model_type should be one of {', '.join(KNOWN_TYPES)}, got {shown(model_type)}"
            + remote
        )
    return str(model_type)


def _biases(model_type: str, config: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    """Return whether q, k and v, whether o, and whether the MLP have biases."""
    if model_type in (PANGU, PANGU_MOE):
        attention = flag(config, "attention_bias", flag(config, "bias", True))
        return attention, attention, False
    if model_type == "qwen2":
        return True, False, False
    if model_type == "mistral":
        return False, False, False
    attention = flag(config, "attention_bias")
    return attention, attention, model_type == "llama" and flag(config, "mlp_bias")


def _windows(
    model_type: str, config: Mapping[str, Any], num_layers: int
) -> tuple[int | None, tuple[int, ...] | None]:
    """Return the window, and the layers that have it, None for all; `(None, None)` without one.

    Raises:
        CheckpointError: `layer_types` has another number of layers, or an unknown kind.
    """
    is_qwen = model_type in ("qwen2", "qwen3")
    if model_type != "mistral" and not (is_qwen and flag(config, "use_sliding_window")):
        return None, None
    window = _window(config, QWEN_WINDOW if is_qwen else MISTRAL_WINDOW)
    kinds = names(config, "layer_types")
    if kinds:
        windowed = _layers_of_kind(kinds, num_layers)
    elif is_qwen:
        named = config.get("max_window_layers")
        first = (
            0 if type(named) is int and named == 0 else whole(config, "max_window_layers", QWEN_FULL_LAYERS)
        )
        windowed = tuple(range(first, num_layers))
    else:
        windowed = tuple(range(num_layers))
    if window is None or not windowed:
        return None, None
    return window, None if len(windowed) == num_layers else windowed


def _layers_of_kind(kinds: Sequence[str], num_layers: int) -> tuple[int, ...]:
    """Return the layers that `layer_types` says have a window."""
    known = ("full_attention", "sliding_attention")
    if len(kinds) != num_layers or not set(kinds) <= set(known):
        raise CheckpointError(
            f"config.json: layer_types should name {' or '.join(known)} for each of {num_layers} layers, "
            f"got {shown(list(kinds))}"
        )
    return tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")


def _window(config: Mapping[str, Any], default: int | None) -> int | None:
    """Return the window; an explicit null is full attention, only an absent key takes the default."""
    value = config.get("sliding_window", default)
    return None if value is None else whole(config, "sliding_window", default)


def teacher_weights(config: TeacherConfig, raw: Mapping[str, torch.Tensor]) -> Matched:
    """Match the tensors of a file with what the configuration asks for.

    Raises:
        CheckpointError: A tensor is missing, has another shape or is not floating point, or a bias is
            there that the configuration denies.
    """
    wanted = teacher_shapes(config)
    found = dict(raw)
    if config.tie_word_embeddings:
        _check_tied_head(found)
    matched = match(wanted, found, ignore=lambda name: name.endswith(IGNORED_SUFFIX))
    denied = [
        name for name in matched.unexpected if name.startswith("model.layers.") and name.endswith(".bias")
    ]
    if denied:
        raise CheckpointError(f"{denied[0]} is in the file, but config.json says that this layer has no bias")
    return matched


def _check_tied_head(found: dict[str, torch.Tensor]) -> None:
    embedding, head = found.get("model.embed_tokens.weight"), found.get("lm_head.weight")
    if head is not None and embedding is not None and not torch.equal(head, embedding):
        raise CheckpointError(
            "lm_head.weight differs from model.embed_tokens.weight, but config.json says tie_word_embeddings"
        )
    if embedding is not None:
        found["lm_head.weight"] = embedding


@dataclass(frozen=True, slots=True)
class EosIds:
    """End-of-sequence ids.

    Attributes:
        effective: What a run stops at: those of generation_config.json, else those of config.json.
        config: Ids in config.json.
        generation: Ids in generation_config.json.
        tokenizer: The tokenizer's own end token, or None.
    """

    effective: frozenset[int]
    config: frozenset[int]
    generation: frozenset[int]
    tokenizer: int | None


def read_eos(
    config: Mapping[str, Any], generation: Mapping[str, Any], tokenizer_eos: int | None, vocab_size: int
) -> EosIds:
    """Collect the end-of-sequence ids.

    Raises:
        CheckpointError: Ids that are not token ids of this vocabulary.
    """
    from_config = _ids(config.get("eos_token_id"), "config.json", vocab_size)
    from_generation = _ids(generation.get("eos_token_id"), "generation_config.json", vocab_size)
    return EosIds(from_generation or from_config, from_config, from_generation, tokenizer_eos)


def _ids(value: object, file_name: str, vocab_size: int) -> frozenset[int]:
    items: list[Any] = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < vocab_size:
            raise CheckpointError(
                f"{file_name}: eos_token_id should be token ids below {vocab_size}, got {shown(value)}"
            )
    return frozenset(items)


MOST: Final = 4096
"""No layer has more experts."""


def experts_of(config: Mapping[str, Any]) -> Experts:
    """Return the experts of every layer; there are as many groups as experts per token.

    Raises:
        CheckpointError: A key is missing or no size, or the experts do not fall into that many groups.
    """
    num_experts = whole(config, "num_experts", most=MOST)
    num_groups = whole(config, "num_experts_per_tok", most=MOST)
    if num_experts % num_groups:
        raise CheckpointError(
            f"config.json: num_experts {num_experts} is not a multiple of num_experts_per_tok {num_groups}, "
            "which is the number of groups"
        )
    return Experts(
        num_experts=num_experts,
        num_groups=num_groups,
        width=whole(config, "moe_intermediate_size"),
        shared_width=whole(config, "shared_expert_intermediate_size"),
    )
