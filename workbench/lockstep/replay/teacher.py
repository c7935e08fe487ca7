"""A teacher without a drafter, for recordings whose drafts have another source."""

from __future__ import annotations

from pathlib import Path

import torch

from tracing.models import DrafterConfig, ModelPair
from workbench.checkpoints.digests import PairDigests, directory_digests, weights_digest
from workbench.checkpoints.files import require_directory
from workbench.checkpoints.load import load_teacher


class TeacherOnly:
    """The part of a loaded pair that replay needs, without a drafter.

    Args:
        directory: The teacher's.
        trust_remote_code: Let the checkpoint's own Python code read its configuration.

    Attributes:
        pair: The teacher; its drafter has no weights and is never run.
        digests: Of the teacher.
    """

    def __init__(self, directory: Path, *, trust_remote_code: bool = False) -> None:
        require_directory(directory, "teacher")
        loaded = load_teacher(directory, trust_remote_code=trust_remote_code)
        teacher, weights = loaded.config, loaded.matched.weights
        self.pair = ModelPair(
            teacher=teacher,
            teacher_weights=weights,
            drafter=DrafterConfig(
                hidden_size=teacher.hidden_size,
                target_hidden_size=teacher.hidden_size,
                intermediate_size=teacher.intermediate_size,
                num_heads=teacher.num_heads,
                num_kv_heads=teacher.num_kv_heads,
                head_dim=teacher.head_dim,
                rms_norm_eps=teacher.rms_norm_eps,
                rope=teacher.rope,
                vocab_size=teacher.vocab_size,
                draft_vocab_size=0,
                aux_layers=(0, 0, 0),
            ),
            drafter_weights={},
            target_from_draft=torch.zeros(0, dtype=torch.int64),
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
