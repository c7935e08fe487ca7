"""A smaller language model as drafter: any teacher directory with the teacher's vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from workbench.checkpoints.checks import judged
from workbench.checkpoints.loaded_drafter import DrafterPart
from workbench.checkpoints.loaded_teacher import LoadedTeacher, load_teacher, teacher_checks, teacher_report
from workbench.checkpoints.report import Check

MOST_NAMED: Final = 3


def load_draft_model(directory: Path, teacher: LoadedTeacher) -> DrafterPart:
    """Load a language model that drafts for a teacher; both must number their tokens alike.

    Raises:
        ModelMissingError: A file is missing.
        CheckpointError: Something is broken or inconsistent.
    """
    model = load_teacher(directory)
    own = [replace(check, id=check.id.replace("teacher", "drafter")) for check in teacher_checks(model)]
    return DrafterPart(
        config=replace(model.config, quantisation=None),  # int4 is multiplied out
        weights=model.matched.weights,
        report=teacher_report(directory, model),
        checks=(*own, _rows(model, teacher), same_vocabulary(model, teacher)),
    )


def _rows(model: LoadedTeacher, teacher: LoadedTeacher) -> Check:
    found, wanted = model.config.vocab_size, teacher.config.vocab_size
    return judged(
        "pair.vocab_size",
        good=found == wanted,
        sentence=f"the draft model has {found} rows in its head; the teacher has {wanted}",
    )


def same_vocabulary(model: LoadedTeacher, teacher: LoadedTeacher) -> Check:
    """Compare the tokens of every id; an id that means another text is never accepted but by chance."""
    count = max(model.tokenizer.vocab_size, teacher.tokenizer.vocab_size)
    unlike = [
        token_id
        for token_id in range(count)
        if model.tokenizer.token_bytes(token_id) != teacher.tokenizer.token_bytes(token_id)
    ]
    named = ", ".join(map(str, unlike[:MOST_NAMED]))
    sentence = f"{len(unlike)} of {count} token ids mean other texts to the draft model"
    return judged("pair.vocabulary", good=not unlike, sentence=f"{sentence}: {named}" if unlike else sentence)
