"""From the plain teacher configuration to the one of transformers, and to its model without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from tracing.errors import CheckpointError
from tracing.models import TeacherConfig

if TYPE_CHECKING:
    from transformers.configuration_utils import PretrainedConfig

HF_MODEL_TYPES: Final[Mapping[str, str]] = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "mistral": "mistral",
    "PanguEmbedded": "llama",  # Llama blocks with biases on q, k, v and o
    "PanguProMoE": "llama",  # the same around experts, which are ours
}
"""Our model types and the transformers architecture that computes them."""

_NOT_ARCHITECTURE: Final = frozenset(
    {"architectures", "auto_map", "model_type", "torch_dtype", "dtype", "transformers_version"}
    | {"quantization_config", "bias", "_name_or_path", "_attn_implementation", "use_cache"}
    | {"layer_types", "max_window_layers"}  # a window is part of our masks, the library's model has none
)
_ROPE_KEYS: Final = frozenset({"rope_parameters", "rope_scaling", "rope_theta"})


def require_known(teacher: TeacherConfig) -> None:
    """Refuse an architecture that the fused path does not have.

    Raises:
        CheckpointError: It is none of `HF_MODEL_TYPES`.
    """
    if teacher.model_type not in HF_MODEL_TYPES:
        raise CheckpointError(
            f"the fused path has teachers of type {', '.join(HF_MODEL_TYPES)}, got {teacher.model_type!r}"
        )


def own_theta(teacher: TeacherConfig) -> float:
    """Return the base of the rotary frequencies by the checkpoint's own keys, ours where it has none."""
    own = teacher.hf_config
    for holder in (own.get("rope_parameters"), own.get("rope_scaling"), own):
        if isinstance(holder, Mapping) and holder.get("rope_theta") is not None:
            return float(holder["rope_theta"])
    return teacher.rope.theta


def build_config(teacher: TeacherConfig) -> PretrainedConfig:
    """Return the transformers configuration: the checkpoint's own keys over our normalised ones.

    Raises:
        CheckpointError: An architecture that the fused path does not have.
    """
    from transformers import AutoConfig

    require_known(teacher)
    own = {key: value for key, value in teacher.hf_config.items() if key not in _NOT_ARCHITECTURE}
    keys = _normalised_keys(teacher)
    if _ROPE_KEYS & own.keys():
        del keys["rope_parameters"]
    keys |= own | _fixed_keys(teacher)
    return AutoConfig.for_model(HF_MODEL_TYPES[teacher.model_type], **keys)


def build_empty_model(config: PretrainedConfig, attention: str, dtype: torch.dtype) -> nn.Module:
    """Return the library's model on the meta device: no memory, no weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, attn_implementation=attention, dtype=dtype
        )
    return model.eval().requires_grad_(requires_grad=False)


def _normalised_keys(teacher: TeacherConfig) -> dict[str, Any]:
    return {
        "vocab_size": teacher.vocab_size,
        "hidden_size": teacher.hidden_size,
        "intermediate_size": teacher.intermediate_size,
        "num_hidden_layers": teacher.num_layers,
        "num_attention_heads": teacher.num_heads,
        "num_key_value_heads": teacher.num_kv_heads,
        "rms_norm_eps": teacher.rms_norm_eps,
        "max_position_embeddings": teacher.max_position_embeddings,
        "rope_parameters": {
            "rope_type": teacher.rope.kind,
            "rope_theta": teacher.rope.theta,
            **teacher.rope.parameters,
        },
    }


def _fixed_keys(teacher: TeacherConfig) -> dict[str, Any]:
    """What must be stated: defaults of the library's configuration classes differ from checkpoints'."""
    return {
        "head_dim": teacher.head_dim,
        "attention_bias": teacher.qkv_bias,
        "mlp_bias": teacher.mlp_bias,
        "sliding_window": None,
        "use_sliding_window": False,
        "tie_word_embeddings": False,  # `lm_head.weight` is always given
        "pad_token_id": None,
        "attention_dropout": 0.0,
    }
