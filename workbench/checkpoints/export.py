"""Write a trained pair in the formats that real models use.

The teacher becomes a Hugging Face checkpoint with the openPangu-Embedded configuration keys, the drafter
an official EAGLE-3 checkpoint, Medusa heads one that vLLM reads. All are 16-bit safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tracing.models import DrafterConfig, MedusaConfig, TeacherConfig
from workbench.checkpoints.aux_ids import default_aux_layers
from workbench.checkpoints.files import SINGLE


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Token ids that the configuration files name."""

    bos: int
    eos: int
    pad: int


def pangu_config(config: TeacherConfig, special: SpecialIds, dtype: str) -> dict[str, Any]:
    """Return config.json of an openPangu-Embedded teacher; it needs no code of its own, so no auto_map."""
    return {
        **_block_config(config, special, dtype),
        "architectures": ["PanguEmbeddedForCausalLM"],
        "model_type": "PanguEmbedded",
        "bias": config.o_bias,
        "num_hidden_layers": config.num_layers,
        "tie_word_embeddings": config.tie_word_embeddings,
        "pad_token_id": special.pad,
        "use_cache": True,
    }


def eagle3_config(config: DrafterConfig, special: SpecialIds, dtype: str) -> dict[str, Any]:
    """Return config.json of an official EAGLE-3 drafter; it names the layers that the official code taps."""
    return {
        **_block_config(config, special, dtype),
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 1,
        "rope_scaling": None,
        "draft_vocab_size": config.draft_vocab_size,
        "eagle_aux_hidden_state_layer_ids": list(config.aux_layers),
        "attention_bias": config.qkv_bias,
        "tie_word_embeddings": False,
    }


def _block_config(config: TeacherConfig | DrafterConfig, special: SpecialIds, dtype: str) -> dict[str, Any]:
    return {
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope.theta,
        "vocab_size": config.vocab_size,
        "bos_token_id": special.bos,
        "eos_token_id": special.eos,
        "torch_dtype": dtype,
    }


def export_teacher(
    directory: Path, config: TeacherConfig, weights: Mapping[str, torch.Tensor], special: SpecialIds
) -> None:
    """Write config.json, generation_config.json and float16 weights (a tied head is not written)."""
    directory.mkdir(parents=True, exist_ok=True)
    dropped = ("lm_head.weight",) if config.tie_word_embeddings else ()
    _write_json(directory / "config.json", pangu_config(config, special, "float16"))
    generation = {"bos_token_id": special.bos, "eos_token_id": special.eos, "pad_token_id": special.pad}
    _write_json(directory / "generation_config.json", generation | {"do_sample": False})
    _write_weights(directory / SINGLE, {name: t for name, t in weights.items() if name not in dropped})


def export_drafter(
    directory: Path,
    config: DrafterConfig,
    weights: Mapping[str, torch.Tensor],
    target_from_draft: torch.Tensor,
    *,
    num_teacher_layers: int,
    special: SpecialIds,
) -> None:
    """Write the official layout: `d2t` as offsets, `t2d`, no embedding (it is the teacher's).

    Raises:
        ValueError: The drafter has something that the official layout cannot express.
    """
    beyond = (config.norm_before_residual, config.norm_output, config.fc_norm, config.norm_before_fc)
    if any(beyond) or config.aux_layers != default_aux_layers(num_teacher_layers):
        raise ValueError("the official layout has fixed aux layers and no norm flags")
    directory.mkdir(parents=True, exist_ok=True)
    draft_ids = torch.arange(len(target_from_draft), dtype=torch.int64)
    t2d = torch.zeros(config.vocab_size, dtype=torch.bool)
    t2d[target_from_draft] = True
    maps = {"d2t": target_from_draft - draft_ids, "t2d": t2d}
    _write_json(directory / "config.json", eagle3_config(config, special, "float16"))
    kept = {name: tensor for name, tensor in weights.items() if name != "embed_tokens.weight"}
    _write_weights(directory / SINGLE, kept, maps)


def export_medusa(
    directory: Path,
    config: MedusaConfig,
    weights: Mapping[str, torch.Tensor],
    token_map: torch.Tensor,
    vocab_size: int,
) -> None:
    """Write vLLM's layout: canonical names, biases told of, a reduced vocabulary with its `token_map`.

    Args:
        directory: Where to.
        config: Sizes.
        weights: `blocks.{h}.layers.{l}.weight|bias` and `lm_heads.{h}.weight`.
        token_map: Target ids of the reduced vocabulary, int64 `[Vd]`.
        vocab_size: Of the teacher.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = {
        "architectures": ["MedusaModel"],
        "model_type": "medusa",
        "hidden_size": config.hidden_size,
        "num_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "vocab_size": vocab_size,
        "truncated_vocab_size": config.draft_vocab_size,
        "medusa_fc_bias": True,
        "torch_dtype": "float16",
    }
    _write_json(directory / "config.json", written)
    _write_weights(directory / SINGLE, weights, {"token_map": token_map})


def export_tokenizer(directory: Path, tokenizer_json: str, special: Mapping[str, str], max_len: int) -> None:
    """Write tokenizer.json and tokenizer_config.json; `special` maps `bos_token` and so on to text."""
    (directory / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_len}
    _write_json(
        directory / "tokenizer_config.json", config | {"clean_up_tokenization_spaces": False, **special}
    )


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _write_weights(
    path: Path, weights: Mapping[str, torch.Tensor], maps: Mapping[str, torch.Tensor] | None = None
) -> None:
    rounded = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in weights.items()}
    for name, tensor in rounded.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} does not fit float16")
    save_file(rounded | dict(maps or {}), path, metadata={"format": "pt"})
