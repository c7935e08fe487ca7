"""Load a teacher and a drafter from directories: plain data, a report, digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tracing.errors import CheckpointError
from tracing.models import ModelPair, RopeConfig, TeacherConfig
from workbench.checkpoints import checks
from workbench.checkpoints.digests import PairDigests, directory_digests, weights_digest
from workbench.checkpoints.drafter import LoadedDrafter, load_drafter
from workbench.checkpoints.files import optional_json, read_json, read_weights, require_directory
from workbench.checkpoints.layouts import detect_layout
from workbench.checkpoints.matching import Matched
from workbench.checkpoints.report import Check, LoadReport, ModelReport
from workbench.checkpoints.teacher import EosIds, read_eos, teacher_config, teacher_weights
from workbench.checkpoints.tokenizer import DirectoryTokenizer, load_tokenizer

EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """What crosses from checkpoints to the rest of the workbench."""

    pair: ModelPair
    tokenizer: DirectoryTokenizer
    report: LoadReport
    digests: PairDigests


@dataclass(frozen=True, slots=True)
class LoadedTeacher:
    """A teacher as plain data."""

    config: TeacherConfig
    matched: Matched
    tokenizer: DirectoryTokenizer
    eos: EosIds


def load_pair(
    teacher_dir: Path | str, draft_dir: Path | str, *, trust_remote_code: bool = False
) -> LoadedPair:
    """Load a pair; nothing is unpickled beyond plain tensors, no remote code runs unless asked.

    Args:
        teacher_dir: A `transformers` causal language model directory.
        draft_dir: An EAGLE-3 drafter in the official, SpecForge or speculators layout.
        trust_remote_code: Let the teacher's own Python code read its configuration and tokenizer.

    Raises:
        ModelMissingError: A directory or file is missing (exit code 3).
        CheckpointError: Something is broken or inconsistent; names file, key or tensor (exit code 2).
    """
    teacher_path, draft_path = Path(teacher_dir), Path(draft_dir)
    require_directory(teacher_path, "teacher")
    require_directory(draft_path, "drafter")
    teacher = load_teacher(teacher_path, trust_remote_code=trust_remote_code)
    draft_config, raw = read_json(draft_path / "config.json"), read_weights(draft_path)
    drafter = load_drafter(draft_config, raw, teacher.config, teacher.matched.weights[EMBEDDING])
    pair = ModelPair(
        teacher=teacher.config,
        teacher_weights=teacher.matched.weights,
        drafter=drafter.config,
        drafter_weights=drafter.matched.weights,
        target_from_draft=drafter.vocabulary.target_from_draft,
        eos_token_ids=teacher.eos.effective,
    )
    report = LoadReport(
        teacher=_teacher_report(teacher_path, teacher),
        drafter=_drafter_report(draft_path, drafter),
        aux_layers=drafter.config.aux_layers,
        aux_convention=drafter.aux.convention,
        d2t_convention=drafter.vocabulary.convention,
        eos_token_ids=tuple(sorted(teacher.eos.effective)),
        checks=_all_checks(teacher, drafter, draft_config, raw),
    )
    report.raise_if_failed()
    digests = PairDigests(
        files=directory_digests(teacher_path, "teacher") | directory_digests(draft_path, "drafter"),
        teacher_weights=weights_digest(pair.teacher_weights),
        drafter_weights=weights_digest(pair.drafter_weights),
    )
    return LoadedPair(pair, teacher.tokenizer, report, digests)


def load_teacher(directory: Path, *, trust_remote_code: bool = False) -> LoadedTeacher:
    """Load the teacher's half.

    Raises:
        ModelMissingError: A file is missing.
        CheckpointError: Something is broken or inconsistent.
    """
    raw_config = read_json(directory / "config.json")
    if trust_remote_code and "auto_map" in raw_config:
        raw_config = _remote_config(directory)
    config = teacher_config(raw_config)
    tokenizer = load_tokenizer(directory, trust_remote_code=trust_remote_code)
    generation = optional_json(directory / "generation_config.json")
    eos = read_eos(raw_config, generation, tokenizer.eos_token_id, config.vocab_size)
    return LoadedTeacher(config, teacher_weights(config, read_weights(directory)), tokenizer, eos)


def _remote_config(directory: Path) -> dict[str, Any]:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(directory), trust_remote_code=True, local_files_only=True)
    except Exception as error:  # noqa: BLE001  # code of the checkpoint may raise anything
        raise CheckpointError(f"the code that {directory} brings cannot read its config: {error}") from None
    values: dict[str, Any] = config.to_dict()
    return values


def _model_report(
    directory: Path, layout: str, matched: Matched, rope: RopeConfig, missing: tuple[str, ...]
) -> ModelReport:
    tensors = matched.weights.values()
    return ModelReport(
        directory=str(directory),
        layout=layout,
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)),
        num_parameters=checks.count_elements(tensors),
        rope={"theta": rope.theta, "kind": rope.kind, **rope.parameters},
        missing=missing,
        unexpected=matched.unexpected,
        ignored=matched.ignored,
    )


def _teacher_report(directory: Path, teacher: LoadedTeacher) -> ModelReport:
    config = teacher.config
    missing = ("lm_head.weight (tied to the embedding)",) if config.tie_word_embeddings else ()
    return _model_report(directory, config.model_type, teacher.matched, config.rope, missing)


def _drafter_report(directory: Path, drafter: LoadedDrafter) -> ModelReport:
    missing = () if drafter.own_embedding else ("embed_tokens.weight (the teacher's is used)",)
    missing = missing if drafter.has_t2d else (*missing, "t2d")
    return _model_report(directory, drafter.layout, drafter.matched, drafter.config.rope, missing)


def _all_checks(
    teacher: LoadedTeacher,
    drafter: LoadedDrafter,
    draft_config: Mapping[str, Any],
    raw: Mapping[str, torch.Tensor],
) -> tuple[Check, ...]:
    config, weights, vocabulary = drafter.config, drafter.matched.weights, drafter.vocabulary
    embedding = teacher.matched.weights[EMBEDDING]
    inner_config = detect_layout(draft_config).inner_config(draft_config)
    return (
        checks.teacher_parameters(teacher.config, teacher.matched.weights),
        checks.layer_order(teacher.matched.weights),
        checks.finite("teacher", teacher.matched.weights),
        checks.dtypes("teacher", teacher.matched.weights),
        checks.unexpected("teacher", teacher.matched.unexpected),
        checks.rope_frequencies("teacher", teacher.config.rope, teacher.config.hf_config),
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
        checks.eos(teacher.eos),
        checks.tokenizer_size(teacher.tokenizer.vocab_size, teacher.config.vocab_size),
    )
