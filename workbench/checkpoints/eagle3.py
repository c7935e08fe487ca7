"""An EAGLE-3 drafter directory as plain data, three layouts normalised to one; its report and its checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from tracing.errors import CheckpointError
from tracing.models import DrafterConfig, TeacherConfig
from workbench.checkpoints import checks, loaded_teacher
from workbench.checkpoints.config_values import flag, head_layout, real, whole
from workbench.checkpoints.files import read_json, read_weights
from workbench.checkpoints.layouts import AuxLayers, Layout, detect_layout
from workbench.checkpoints.loaded_drafter import DrafterPart
from workbench.checkpoints.loaded_teacher import LoadedTeacher, model_report
from workbench.checkpoints.report import Check, ModelReport
from workbench.checkpoints.rope import rope_from_config
from workbench.checkpoints.shapes import Matched, check_tensor, drafter_shapes, match
from workbench.checkpoints.teacher import QWEN3_HEAD_DIM
from workbench.checkpoints.vocabulary_map import VocabularyMap, read_map

EMBEDDING: Final = "embed_tokens.weight"
INNER_TYPES: Final = ("llama", "qwen2", "qwen3", "mistral")
IGNORED: Final = ("verifier_lm_head.weight", "verifier_norm.weight")
"""Copies of teacher tensors that a trainer may leave in the file."""


@dataclass(frozen=True, slots=True)
class LoadedDrafter:
    """A drafter as plain data, with what the load report states of it."""

    config: DrafterConfig
    matched: Matched
    vocabulary: VocabularyMap
    aux: AuxLayers
    layout: str
    own_embedding: bool
    has_t2d: bool


def load_eagle3(directory: Path, teacher: LoadedTeacher) -> DrafterPart:
    """Load a drafter in the official, SpecForge or speculators layout.

    Raises:
        ModelMissingError: A file is missing.
        CheckpointError: Something is broken or inconsistent.
    """
    config, raw = read_json(directory / "config.json"), read_weights(directory)
    drafter = load_drafter(config, raw, teacher.config, teacher.matched.weights[loaded_teacher.EMBEDDING])
    return DrafterPart(
        config=drafter.config,
        weights=drafter.matched.weights,
        target_from_draft=drafter.vocabulary.target_from_draft,
        report=_drafter_report(directory, drafter),
        aux_layers=drafter.config.aux_layers,
        aux_convention=drafter.aux.convention,
        d2t_convention=drafter.vocabulary.convention,
        checks=_checks(teacher, drafter, config, raw),
    )


def _drafter_report(directory: Path, drafter: LoadedDrafter) -> ModelReport:
    missing = () if drafter.own_embedding else ("embed_tokens.weight (the teacher's is used)",)
    missing = missing if drafter.has_t2d else (*missing, "t2d")
    return model_report(directory, drafter.layout, drafter.matched, drafter.config.rope, missing)


def _checks(
    teacher: LoadedTeacher,
    drafter: LoadedDrafter,
    draft_config: Mapping[str, object],
    raw: Mapping[str, torch.Tensor],
) -> tuple[Check, ...]:
    config, weights, vocabulary = drafter.config, drafter.matched.weights, drafter.vocabulary
    embedding = teacher.matched.weights[loaded_teacher.EMBEDDING]
    inner_config = detect_layout(draft_config).inner_config(draft_config)
    return (
        checks.drafter_parameters(config, weights, raw, 0 if drafter.own_embedding else embedding.numel()),
        checks.finite("drafter", weights),
        checks.dtypes("drafter", weights),
        checks.unexpected("drafter", drafter.matched.unexpected),
        checks.rope_frequencies("drafter", config.rope, inner_config),
        checks.fc_width(weights, teacher.config),
        checks.aux_layers(config, teacher.config.num_layers),
        checks.d2t_law(
            vocabulary.target_from_draft,
            raw.get("t2d"),
            int(weights["lm_head.weight"].shape[0]),
            teacher.config.vocab_size,
        ),
        checks.t2d_present(
            confirmed=vocabulary.confirmed,
            ambiguous=vocabulary.ambiguous,
            convention=vocabulary.convention,
        ),
        checks.norm_flags(config, drafter.layout),
        checks.rope_pair(teacher.config.rope, config.rope),
        checks.embeddings(weights["embed_tokens.weight"], embedding, own=drafter.own_embedding),
    )


def load_drafter(
    config: Mapping[str, Any],
    raw: Mapping[str, torch.Tensor],
    teacher: TeacherConfig,
    teacher_embedding: torch.Tensor,
) -> LoadedDrafter:
    """Normalise a drafter, its config.json and tensors, for one teacher.

    The teacher's embedding `[V, H_target]` is used when the drafter ships none.

    Raises:
        CheckpointError: Names the key or tensor that is missing or inconsistent.
    """
    layout = detect_layout(config)
    named = _canonical(layout, raw)
    d2t, t2d = named.pop("d2t", None), named.pop("t2d", None)
    aux = layout.aux_layers(config, teacher.num_layers)
    drafter = _drafter_config(config, layout, named, teacher, aux)
    _refuse_unsupported(named)
    vocabulary = read_map(d2t, t2d, draft_vocab_size=drafter.draft_vocab_size, vocab_size=teacher.vocab_size)
    own_embedding = EMBEDDING in named
    if not own_embedding:
        named[EMBEDDING] = _borrowed_embedding(drafter, teacher_embedding)
    matched = match(drafter_shapes(drafter), named, ignore=_is_ignored)
    return LoadedDrafter(drafter, matched, vocabulary, aux, layout.name, own_embedding, t2d is not None)


def _canonical(layout: Layout, raw: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    named: dict[str, torch.Tensor] = {}
    for name, tensor in raw.items():
        canonical = layout.canonical_name(name)
        if canonical in named:
            raise CheckpointError(f"{name} means {canonical}, which the file holds under another name too")
        named[canonical] = tensor
    return named


def _is_ignored(name: str) -> bool:
    return name in IGNORED or name.endswith("rotary_emb.inv_freq")


def _drafter_config(
    config: Mapping[str, Any],
    layout: Layout,
    named: Mapping[str, torch.Tensor],
    teacher: TeacherConfig,
    aux: AuxLayers,
) -> DrafterConfig:
    inner = layout.inner_config(config)
    model_type = inner.get("model_type", "llama")
    if model_type not in INNER_TYPES:
        raise CheckpointError(
            f"drafter block type should be one of {', '.join(INNER_TYPES)}, got {model_type!r}"
        )
    if whole(inner, "num_hidden_layers", 1) != 1:
        raise CheckpointError(f"num_hidden_layers should be 1 in a drafter, got {inner['num_hidden_layers']}")
    num_heads, num_kv_heads, head_dim = head_layout(inner, QWEN3_HEAD_DIM if model_type == "qwen3" else None)
    vocab_size = whole(inner, "vocab_size", teacher.vocab_size)
    has_qkv_bias, has_o_bias = _promised_biases(inner, model_type)
    attention = "midlayer.self_attn"
    return DrafterConfig(
        hidden_size=whole(inner, "hidden_size"),
        target_hidden_size=whole(config, "target_hidden_size", teacher.hidden_size),
        intermediate_size=whole(inner, "intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        rms_norm_eps=real(inner, "rms_norm_eps", 1e-6),
        rope=rope_from_config(inner),
        vocab_size=vocab_size,
        draft_vocab_size=whole(config, "draft_vocab_size", vocab_size),
        aux_layers=aux.entering,
        max_position_embeddings=whole(inner, "max_position_embeddings", 2048),
        norm_before_residual=flag(config, "norm_before_residual"),
        norm_output=_norm_flag(config, "norm_output"),
        fc_norm=_norm_flag(config, "fc_norm"),
        norm_before_fc=flag(config, "norm_before_fc"),
        qk_norm=model_type == "qwen3" or f"{attention}.q_norm.weight" in named,
        qkv_bias=f"{attention}.q_proj.bias" in named or has_qkv_bias,
        o_bias=f"{attention}.o_proj.bias" in named or has_o_bias,
        window=_window(inner),
    )


def _window(inner: Mapping[str, Any]) -> int:
    """Return the window that `layer_types` gives the drafter's layer, 0 for none; engines read it there."""
    kinds = inner.get("layer_types")
    if not isinstance(kinds, list) or kinds[:1] != ["sliding_attention"]:
        return 0
    if inner.get("sliding_window") is None or not flag(inner, "use_sliding_window", True):
        return 0
    return whole(inner, "sliding_window")


def _promised_biases(inner: Mapping[str, Any], model_type: str) -> tuple[bool, bool]:
    """Return what the configuration states of biases on q, k, v and on o; tensors may add some."""
    if model_type == "qwen2":
        return True, False
    promised = flag(inner, "attention_bias")
    return promised, promised


def _norm_flag(config: Mapping[str, Any], key: str) -> bool:
    """Read a norm flag from the top level or, as some exports have it, from `eagle_config`."""
    block = config.get("eagle_config")
    return flag(config, key, flag(block, key) if isinstance(block, Mapping) else False)


def _refuse_unsupported(named: Mapping[str, torch.Tensor]) -> None:
    for name in named:
        if name == "fc.bias" or name.endswith(("gate_proj.bias", "up_proj.bias", "down_proj.bias")):
            raise CheckpointError(f"{name} is in the file, but an EAGLE-3 drafter has no bias there")
        if name.startswith("layers.") and not name.startswith("layers.0."):
            raise CheckpointError(f"{name}: drafters with more than one layer are not supported")


def _borrowed_embedding(drafter: DrafterConfig, teacher_embedding: torch.Tensor) -> torch.Tensor:
    if teacher_embedding.shape[1] != drafter.hidden_size:
        raise CheckpointError(
            f"{EMBEDDING} is missing, and the teacher's embedding of width {teacher_embedding.shape[1]} "
            f"cannot replace that of a drafter of width {drafter.hidden_size}"
        )
    check_tensor(EMBEDDING, teacher_embedding, (drafter.vocab_size, drafter.hidden_size))
    return teacher_embedding
