"""Mistakes written after the order of findings, which had not seen them when they were first measured."""

from __future__ import annotations

from typing import Final

from causes.held import fused, fused_rare, level, level_models, level_rare, level_tree, partial
from causes.mistake import Mistake

MODULES: Final = (fused_rare, level_models, level_rare, level_tree)
"""They register their mistakes when they are imported."""
MISTAKES: Final[tuple[Mistake, ...]] = (
    *fused.mistake.mistakes,
    *partial.mistake.mistakes,
    *level.mistake.mistakes,
)
