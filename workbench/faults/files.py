"""Faults in the files: the tiny pair as checkpoints on disk, loaded as any pair, decoded on both paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, models, pre_tokenizers

from tracing.errors import CheckpointError
from tracing.models import ModelPair
from workbench.checkpoints.export import SpecialIds, export_drafter, export_teacher, export_tokenizer
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.report import Check
from workbench.faults.tiny import MAX_POSITIONS, VOCAB, tiny_pair, token_bytes

REFUSED: Final = "load.refused"
"""Rule of a pair that the loader refuses before any check of the report."""
_CHECK_ID: Final = re.compile(r"\[([a-z0-9_.]+)\]\Z")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the loader made of two directories.

    Attributes:
        pair: The pair, or None when it was refused.
        noticed: Checks that did not pass, or the refusal itself.
    """

    pair: ModelPair | None
    noticed: tuple[Check, ...]


def load(teacher: Path, drafter: Path) -> Loaded:
    """Load a pair; a refusal is an answer too."""
    try:
        loaded = load_pair(teacher, drafter)
    except CheckpointError as refusal:
        named = _CHECK_ID.search(str(refusal))
        return Loaded(None, (Check(named[1] if named else REFUSED, "failed", str(refusal)),))
    return Loaded(loaded.pair, tuple(check for check in loaded.report.checks if check.status != "ok"))


def worse(faulty: Loaded, clean: Loaded) -> tuple[Check, ...]:
    """Return what is noticed of a faulty pair and was not noticed of the clean one."""
    known = {(check.id, check.status) for check in clean.noticed}
    return tuple(check for check in faulty.noticed if (check.id, check.status) not in known)


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
