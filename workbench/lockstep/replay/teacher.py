"""A teacher without a drafter, for recordings whose drafts have another source."""

from __future__ import annotations

from pathlib import Path

from tracing.models import ModelPair
from workbench.checkpoints.digests import PairDigests, directory_digests, weights_digest
from workbench.checkpoints.files import require_directory
from workbench.checkpoints.loaded_teacher import load_teacher


class TeacherOnly:
    """The part of a loaded pair that replay needs, without a drafter.

    Args:
        directory: The teacher's.
        trust_remote_code: Let the checkpoint's own Python code read its configuration.

    Attributes:
        pair: The teacher; it has no drafter, and none is run.
        digests: Of the teacher.
    """

    def __init__(self, directory: Path, *, trust_remote_code: bool = False) -> None:
        require_directory(directory, "teacher")
        loaded = load_teacher(directory, trust_remote_code=trust_remote_code)
        teacher, weights = loaded.config, loaded.matched.weights
        self.pair = ModelPair(
            teacher=teacher,
            teacher_weights=weights,
            eos_token_ids=loaded.eos.effective,
        )
        self.digests = PairDigests(directory_digests(directory, "teacher"), weights_digest(weights), "")


def load_teacher_only(directory: Path | str, *, trust_remote_code: bool = False) -> TeacherOnly:
    """Load a teacher.

    Raises:
        ModelMissingError: The directory or a file is missing.
        CheckpointError: Something is broken or inconsistent.
    """
    return TeacherOnly(Path(directory), trust_remote_code=trust_remote_code)
