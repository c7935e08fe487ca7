"""A teacher directory as plain data, with what the load report states of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from tracing.errors import CheckpointError
from tracing.models import RopeConfig, TeacherConfig
from workbench.checkpoints import checks, suspicions
from workbench.checkpoints.config_keys import audit
from workbench.checkpoints.files import optional_json, read_json, read_weights
from workbench.checkpoints.quantised_files import crossing_weights, file_quantisation, read_quantised
from workbench.checkpoints.report import Check, ModelReport
from workbench.checkpoints.rope import unknown_rope_keys, uses_sections
from workbench.checkpoints.shapes import Matched
from workbench.checkpoints.teacher import EosIds, read_eos, table_of, teacher_config, teacher_weights
from workbench.checkpoints.tokenizer import DirectoryTokenizer, load_tokenizer

EMBEDDING: Final = "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class LoadedTeacher:
    """A teacher as plain data, with its config.json as it is.

    Attributes:
        config: As the paths read it.
        matched: Weights under canonical names; int4 ones multiplied out, for checks.
        crossing: Weights that cross to the paths; int4 ones as shipped.
        tokenizer, eos: See there.
        raw_config: config.json.
    """

    config: TeacherConfig
    matched: Matched
    crossing: Mapping[str, torch.Tensor]
    tokenizer: DirectoryTokenizer
    eos: EosIds
    raw_config: Mapping[str, Any]

    @property
    def unknown_keys(self) -> tuple[str, ...]:
        """Keys of config.json that no table knows."""
        return audit(self.raw_config, table_of(self.raw_config)) + unknown_rope_keys(self.raw_config)


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
    config = replace(config, quantisation=file_quantisation(raw_config))
    raw: Mapping[str, torch.Tensor] = read_weights(directory)
    quantised = None if config.quantisation is None else read_quantised(config, raw)
    matched = teacher_weights(config, raw if quantised is None else quantised.plain)
    crossing = crossing_weights(matched.weights, quantised)
    return LoadedTeacher(config, matched, crossing, tokenizer, eos, raw_config)


def _remote_config(directory: Path) -> dict[str, Any]:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(directory), trust_remote_code=True, local_files_only=True)
    except Exception as error:  # noqa: BLE001  # code of the checkpoint may raise anything
        raise CheckpointError(f"the code that {directory} brings cannot read its config: {error}") from None
    values: dict[str, Any] = config.to_dict()
    return values


def teacher_report(directory: Path, teacher: LoadedTeacher) -> ModelReport:
    """Return what was found in the teacher's directory."""
    config = teacher.config
    missing = ("lm_head.weight (tied to the embedding)",) if config.tie_word_embeddings else ()
    return model_report(
        directory, config.model_type, teacher.matched, rope_facts(config.rope, teacher.raw_config), missing
    )


def rope_facts(rope: RopeConfig, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the effective rotary parameters, and that sections of positions do not show in a text."""
    sections = {"sections": "mrope, equal in a text"} if uses_sections(config) else {}
    return {"theta": rope.theta, "kind": rope.kind, **rope.parameters, **sections}


def model_report(
    directory: Path, layout: str, matched: Matched, rope: dict[str, Any], missing: tuple[str, ...]
) -> ModelReport:
    """Return what was found in a model's directory."""
    tensors = matched.weights.values()
    return ModelReport(
        directory=str(directory),
        layout=layout,
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)),
        num_parameters=checks.count_elements(tensors),
        rope=rope,
        missing=missing,
        unexpected=matched.unexpected,
        ignored=matched.ignored,
    )


def teacher_checks(teacher: LoadedTeacher) -> tuple[Check, ...]:
    """Return the checks of a teacher by itself."""
    weights = teacher.matched.weights
    return (
        checks.teacher_parameters(teacher.config, weights),
        checks.layer_order(weights),
        checks.finite("teacher", weights),
        suspicions.suspicions("teacher", weights),
        suspicions.epsilon(
            "teacher", teacher.config.rms_norm_eps, written="rms_norm_eps" in teacher.raw_config
        ),
        checks.dtypes("teacher", weights),
        checks.unexpected("teacher", teacher.matched.unexpected),
        checks.rope_frequencies("teacher", teacher.config.rope, teacher.raw_config),
        checks.config_keys("teacher", teacher.unknown_keys),
    )
