"""The tiny pair as checkpoints on disk: what a fault in the files is put into, and what the loader reads."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, models, pre_tokenizers

from workbench.checkpoints.export import SpecialIds, export_drafter, export_teacher, export_tokenizer
from workbench.faults.tiny import MAX_POSITIONS, VOCAB, tiny_pair, token_bytes

LAYERS: Final = 8
"""The official tap formula needs seven layers for three different taps."""
AUX_LAYERS: Final = (2, 4, 5)
SPECIAL: Final = SpecialIds(bos=0, eos=1, pad=2)


def export_tiny(folder: Path) -> tuple[Path, Path]:
    """Write the tiny pair with eight layers below `folder`; return the directories, teacher first."""
    pair = tiny_pair(layers=LAYERS, aux_layers=AUX_LAYERS)
    teacher, drafter = folder / "teacher", folder / "drafter"
    export_teacher(teacher, pair.teacher, pair.teacher_weights, SPECIAL)
    export_tokenizer(teacher, _tokenizer_json(), {"eos_token": _word(SPECIAL.eos)}, MAX_POSITIONS)
    export_drafter(
        drafter,
        pair.drafter,
        pair.drafter_weights,
        pair.target_from_draft,
        num_teacher_layers=LAYERS,
        special=SPECIAL,
    )
    return teacher, drafter


def _word(token_id: int) -> str:
    return token_bytes(token_id).decode().strip()


def _tokenizer_json() -> str:
    vocabulary = {_word(token_id): token_id for token_id in range(VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_word(0)))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return str(tokenizer.to_str())
