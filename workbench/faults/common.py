"""Faults in the files: loaded as any pair, judged by the load report, then decoded on both paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracing.errors import CheckpointError
from tracing.models import ModelPair
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.report import Check

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
