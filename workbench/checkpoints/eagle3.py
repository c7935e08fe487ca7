"""An EAGLE-3 drafter directory as plain data, with its report and its checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from workbench.checkpoints import checks
from workbench.checkpoints.drafter import LoadedDrafter, load_drafter
from workbench.checkpoints.files import read_json, read_weights
from workbench.checkpoints.layouts import detect_layout
from workbench.checkpoints.loaded_drafter import DrafterPart
from workbench.checkpoints.loaded_teacher import EMBEDDING, LoadedTeacher, model_report
from workbench.checkpoints.report import Check, ModelReport


def load_eagle3(directory: Path, teacher: LoadedTeacher) -> DrafterPart:
    """Load a drafter in the official, SpecForge or speculators layout.

    Raises:
        ModelMissingError: A file is missing.
        CheckpointError: Something is broken or inconsistent.
    """
    config, raw = read_json(directory / "config.json"), read_weights(directory)
    drafter = load_drafter(config, raw, teacher.config, teacher.matched.weights[EMBEDDING])
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
    embedding = teacher.matched.weights[EMBEDDING]
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
