"""What a fault is run on: one decoding job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from invariants.context import RunContext
from tracing.models import ModelPair
from tracing.settings import DecodeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One decoding job.

    Attributes:
        pair: Both models.
        prompt: Token ids.
        settings: Tree shape, length and commit mode.
        dtype: Of the path under test.
        rung: Of the reference.
        token_bytes: Raw bytes of a token id, for the trace's vocabulary.
    """

    pair: ModelPair
    prompt: tuple[int, ...]
    settings: DecodeSettings
    dtype: str = "float32"
    rung: str = "masked"
    token_bytes: Any = None

    @property
    def context(self) -> RunContext:
        """Limits that the rules may ask for."""
        return RunContext.from_settings(self.settings, self.pair)
