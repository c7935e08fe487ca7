"""Acceptance rules of the fused path that choose by chance: one file a rule, one line in this registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tracing.draws import Draws
from tracing.sampling import Chooser
from tracing.settings import DecodeSettings

CHOOSERS: Final[Mapping[str, Callable[[DecodeSettings, Draws], Chooser]]] = {}
"""Acceptance rule to its chooser; `greedy` needs none."""
