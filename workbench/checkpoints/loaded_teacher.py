"""A teacher directory as plain data, with what the load report states of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracing.errors import CheckpointError
from tracing.models import RopeConfig, TeacherConfig
from workbench.checkpoints import checks
from workbench.checkpoints.files import optional_json, read_json, read_weights
from workbench.checkpoints.report import Check, ModelReport
from workbench.checkpoints.shapes import Matched
from workbench.checkpoints.teacher import EosIds, read_eos, teacher_config, teacher_weights
from workbench.checkpoints.tokenizer import DirectoryTokenizer, load_tokenizer

EMBEDDING: Final = "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class LoadedTeacher:
    """A teacher as plain data."""

    config: TeacherConfig
    matched: Matched
    tokenizer: DirectoryTokenizer
    eos: EosIds


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


def teacher_report(directory: Path, teacher: LoadedTeacher) -> ModelReport:
    """Return what was found in the teacher's directory."""
    config = teacher.config
    missing = ("lm_head.weight (tied to the embedding)",) if config.tie_word_embeddings else ()
    return model_report(directory, config.model_type, teacher.matched, config.rope, missing)


def model_report(
    directory: Path, layout: str, matched: Matched, rope: RopeConfig, missing: tuple[str, ...]
) -> ModelReport:
    """Return what was found in a model's directory."""
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


def teacher_checks(teacher: LoadedTeacher) -> tuple[Check, ...]:
    """Return the checks of a teacher by itself."""
    weights = teacher.matched.weights
    return (
        checks.teacher_parameters(teacher.config, weights),
        checks.layer_order(weights),
        checks.finite("teacher", weights),
        checks.dtypes("teacher", weights),
        checks.unexpected("teacher", teacher.matched.unexpected),
        checks.rope_frequencies("teacher", teacher.config.rope, teacher.config.hf_config),
    )
