"""All mistakes of all ports."""

from __future__ import annotations

from typing import Final

from causes import fused, held, partial
from causes.level import accept, beams, cache, fed, kernels, layout, logits, masks, port, scores, tree
from causes.mistake import Mistake

LEVEL: Final = (accept, beams, cache, fed, kernels, layout, logits, masks, scores, tree)
"""Modules that register the mistakes of the level port when they are imported."""
MISTAKES: Final[tuple[Mistake, ...]] = (
    *fused.MISTAKES,
    *partial.mistake.mistakes,
    *port.mistake.mistakes,
    *held.MISTAKES,
)
