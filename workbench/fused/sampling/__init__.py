"""Acceptance rules of the fused path that choose by chance: a class a rule, one line in this registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tracing.draws import Draws
from tracing.sampling import Chooser
from tracing.settings import DecodeSettings
from workbench.fused.sampling.medusa import NucleusRows, TypicalAcceptance
from workbench.fused.sampling.posterior import EaglePosterior, SamplerMatch
from workbench.fused.sampling.residual import BlockVerification, WithoutReplacement, WithReplacement

CHOOSERS: Final[Mapping[str, Callable[[DecodeSettings, Draws], Chooser]]] = {
    "eagle": EaglePosterior,
    "match": SamplerMatch,
    "rejection": WithReplacement,
    "specinfer": WithReplacement,
    "rsd": WithoutReplacement,
    "block": BlockVerification,
    "medusa_typical": TypicalAcceptance,
    "medusa_nucleus": NucleusRows,
}
"""Acceptance rule to its chooser; `greedy` needs none."""
