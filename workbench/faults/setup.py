"""What a fault is run on: one decoding job, and the variants that some faults need to show at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from invariants.context import RunContext
from tracing.models import ModelPair
from tracing.settings import DecodeSettings

NEEDS: Final[Mapping[str, str]] = {
    "plain": "a tree without pads, float32",
    "pads": "more rows than the drafter has candidates",
    "long": "more than 512 KV columns",
    "eos": "an end-of-sequence token inside an accepted path",
    "rejected_eos": "an end-of-sequence token that is drafted and never chosen",
    "long_bfloat16": "a path in bfloat16 with more than 512 KV columns",
    "ties": "two tokens with the same row in the teacher's head",
    "length": "a commit by length was asked for",
}
"""What a fault may need to show at all."""


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
        return RunContext.from_settings(
            self.settings,
            vocab_size=self.pair.teacher.vocab_size,
            eos_token_ids=self.pair.eos_token_ids,
            max_positions=self.pair.teacher.max_position_embeddings,
        )
