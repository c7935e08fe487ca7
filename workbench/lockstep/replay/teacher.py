"""A teacher without a drafter, for recordings whose drafts have another source."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tracing.models import ModelPair
from tracing.settings import AS_IS
from workbench.checkpoints.digests import PairDigests, directory_digests, weights_digest
from workbench.checkpoints.files import require_directory
from workbench.checkpoints.loaded_teacher import load_teacher
from workbench.checkpoints.quantised import parse_weights, quantised_teacher


class TeacherOnly(NamedTuple):
    """The part of a loaded pair that replay needs; the pair has no drafter."""

    pair: ModelPair
    digests: PairDigests


def load_teacher_only(
    teacher_dir: Path | str, *, trust_remote_code: bool = False, weights: str = AS_IS
) -> TeacherOnly:
    """Load a teacher; `trust_remote_code` lets its own Python code read its configuration.

    `weights` says how its weights are wanted, as for `load_pair`.

    Raises:
        ModelMissingError: The directory or a file is missing.
        CheckpointError: Something is broken or inconsistent.
    """
    directory = Path(teacher_dir)
    require_directory(directory, "teacher")
    loaded = load_teacher(directory, trust_remote_code=trust_remote_code)
    config, own = loaded.config, loaded.crossing
    quantisation = parse_weights(weights)
    if quantisation is not None:
        config, own = quantised_teacher(config, own, quantisation)
    pair = ModelPair(teacher=config, teacher_weights=own, eos_token_ids=loaded.eos.effective)
    digests = PairDigests(directory_digests(directory, "teacher"), weights_digest(own), "")
    return TeacherOnly(pair, digests)
