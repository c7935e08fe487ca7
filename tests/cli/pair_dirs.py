"""A tiny pair as model directories, so that commands load, decode and replay it as users do theirs."""

from __future__ import annotations

from pathlib import Path

from tests.checkpoints import synthetic
from tests.pairs import tiny_pair
from workbench.checkpoints.aux_ids import default_aux_layers
from workbench.checkpoints.export import SpecialIds, export_drafter, export_teacher, export_tokenizer

SPECIAL = SpecialIds(bos=1, eos=2, pad=0)
NUM_LAYERS = 6


def write_pair(folder: Path, seed: int = 3) -> tuple[Path, Path]:
    """Write teacher and drafter; their drafter is right about half of the time."""
    pair = tiny_pair(
        seed,
        "PanguEmbedded",
        layers=NUM_LAYERS,
        head_dim=16,
        vocab=288,
        aux_layers=default_aux_layers(NUM_LAYERS),
    )
    teacher, drafter = folder / "teacher", folder / "drafter"
    export_teacher(teacher, pair.teacher, pair.teacher_weights, SPECIAL)
    export_tokenizer(
        teacher, synthetic.tokenizer_json(), {"bos_token": "<s>", "eos_token": "</s>"}, max_len=256
    )
    export_drafter(
        drafter,
        pair.drafter,
        pair.drafter_weights,
        pair.target_from_draft,
        num_teacher_layers=NUM_LAYERS,
        special=SPECIAL,
    )
    return teacher, drafter
