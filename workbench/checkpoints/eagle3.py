"""An EAGLE-3 drafter directory as plain data, three layouts normalised to one; its report and its checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from tracing.errors import CheckpointError
from tracing.models import DrafterConfig, TeacherConfig
from workbench.checkpoints import checks, loaded_teacher, suspicions
from workbench.checkpoints.aux_ids import AuxLayers, read_aux_layers
from workbench.checkpoints.drafter_config import read_drafter_config
from workbench.checkpoints.files import read_json, read_weights
from workbench.checkpoints.layouts import FileNames, canonical, detect_layout
from workbench.checkpoints.loaded_drafter import DrafterPart
from workbench.checkpoints.loaded_teacher import LoadedTeacher, model_report, rope_facts
from workbench.checkpoints.report import Check, ModelReport
from workbench.checkpoints.rope import unknown_rope_keys
from workbench.checkpoints.shapes import Matched, check_tensor, drafter_shapes, match
from workbench.checkpoints.vocabulary_map import VocabularyMap, read_map

EMBEDDING: Final = "embed_tokens.weight"
IGNORED: Final = ("verifier_lm_head.weight", "verifier_norm.weight")
"""Copies of teacher tensors that a trainer may leave in the file."""


@dataclass(frozen=True, slots=True)
class LoadedDrafter:
    """A drafter as plain data, with what the load report states of it.

    Attributes:
        doubts: Keys that were not taken at their word.
        unknown_keys: Keys of config.json that no table knows.
    """

    config: DrafterConfig
    matched: Matched
    vocabulary: VocabularyMap
    aux: AuxLayers
    layout: str
    own_embedding: bool
    has_t2d: bool
    doubts: tuple[str, ...]
    unknown_keys: tuple[str, ...]


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
        report=_drafter_report(directory, drafter, detect_layout(config).inner_config(config)),
        aux_layers=drafter.config.aux_layers,
        aux_convention=drafter.aux.convention,
        d2t_convention=drafter.vocabulary.convention,
        checks=_checks(teacher, drafter, config, raw),
    )


def _drafter_report(directory: Path, drafter: LoadedDrafter, inner: Mapping[str, Any]) -> ModelReport:
    missing = () if drafter.own_embedding else ("embed_tokens.weight (the teacher's is used)",)
    missing = missing if drafter.has_t2d else (*missing, "t2d")
    rope = rope_facts(drafter.config.rope, inner)
    return model_report(directory, drafter.layout, drafter.matched, rope, missing)


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
        suspicions.suspicions("drafter", {name: weights[name] for name in weights if name != EMBEDDING}),
        suspicions.epsilon(
            "drafter", config.rms_norm_eps, written=inner_config.get("rms_norm_eps") is not None
        ),
        checks.dtypes("drafter", weights),
        checks.unexpected("drafter", drafter.matched.unexpected),
        checks.rope_frequencies("drafter", config.rope, inner_config),
        checks.fc_width(weights, teacher.config),
        checks.aux_layers(config, drafter.aux, teacher.config.num_layers),
        checks.config_doubts("drafter", drafter.doubts),
        checks.config_keys("drafter", drafter.unknown_keys),
        checks.d2t_law(
            vocabulary.target_from_draft,
            raw.get("t2d"),
            int(weights["lm_head.weight"].shape[0]),
            teacher.config.vocab_size,
        ),
        checks.t2d_present(
            confirmed=vocabulary.confirmed, ambiguous=vocabulary.ambiguous, convention=vocabulary.convention
        ),
        checks.norm_flags(config, drafter.layout),
        checks.rope_pair(teacher.config.rope, config.rope),
        checks.embeddings(weights["embed_tokens.weight"], embedding, own=drafter.own_embedding),
        suspicions.trained(weights),
        suspicions.blind(),
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
    unknown = layout.unknown_keys(config) + unknown_rope_keys(layout.inner_config(config))
    named = canonical(raw)
    d2t, t2d = named.pop("d2t", None), named.pop("t2d", None)
    aux = read_aux_layers(config, teacher.num_layers, boundaries=layout.boundaries)
    _refuse_unsupported(named, FileNames(raw))
    read = read_drafter_config(config, layout, named, teacher, aux)
    drafter = read.config
    own_embedding = EMBEDDING in named
    if not own_embedding:
        named[EMBEDDING] = _borrowed_embedding(drafter, teacher_embedding)
    matched = match(drafter_shapes(drafter), named, ignore=_is_ignored, written=FileNames(raw))
    vocabulary = read_map(d2t, t2d, draft_vocab_size=drafter.draft_vocab_size, vocab_size=teacher.vocab_size)
    return LoadedDrafter(
        drafter, matched, vocabulary, aux, layout.name, own_embedding, t2d is not None, read.doubts, unknown
    )


def _is_ignored(name: str) -> bool:
    return name in IGNORED or name.endswith("rotary_emb.inv_freq")


def _refuse_unsupported(named: Mapping[str, torch.Tensor], written: FileNames) -> None:
    for name in named:
        if name == "fc.bias" or name.endswith(("gate_proj.bias", "up_proj.bias", "down_proj.bias")):
            raise CheckpointError(f"{written(name)} is in the file, but an EAGLE-3 drafter has no bias there")
        if name.startswith(("layers.", "additional_layers.")):
            raise CheckpointError(f"{written(name)}: drafters with more than one layer are not supported")
    if "lm_head.weight" not in named:
        raise CheckpointError("lm_head.weight is missing: an EAGLE-3 drafter has a head of its own")


def _borrowed_embedding(drafter: DrafterConfig, teacher_embedding: torch.Tensor) -> torch.Tensor:
    if teacher_embedding.shape[1] != drafter.hidden_size:
        raise CheckpointError(
            f"{EMBEDDING} is missing, and the teacher's embedding of width {teacher_embedding.shape[1]} "
            f"cannot replace that of a drafter of width {drafter.hidden_size}"
        )
    check_tensor(EMBEDDING, teacher_embedding, (drafter.vocab_size, drafter.hidden_size))
    return teacher_embedding
