"""What a fault is run on: pair, prompt and settings, in the variants that some faults need to show at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from invariants.context import RunContext
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from workbench.faults.tiny import tiny_pair, token_bytes

NEEDS: Final[Mapping[str, str]] = {
    "plain": "a tree without pads, float32",
    "pads": "more rows than the drafter has candidates",
    "long": "more than 512 KV columns",
    "eos": "an end-of-sequence token inside an accepted path",
    "bfloat16": "a path in bfloat16",
    "ties": "two tokens with the same row in the teacher's head",
    "length": "a commit by length was asked for",
    "many_steps": "enough steps for the alarms on acceptance",
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


class Bench(Protocol):
    """Gives setups by need."""

    name: str

    def setup(self, need: str) -> Setup:
        """Return the job that has what a fault needs.

        Raises:
            KeyError: No such need.
        """
        ...


class TinyBench:
    """Two layers, twelve nodes, sixteen tokens: each run takes a fraction of a second."""

    name = "tiny"

    def __init__(self) -> None:
        self._plain = Setup(
            pair=tiny_pair(),
            prompt=(7, 19, 3, 50, 21),
            settings=DecodeSettings(tree_nodes=12, depth=3, top_k=4, max_new_tokens=16),
            token_bytes=token_bytes,
        )

    def setup(self, need: str) -> Setup:
        """Return the job that has what a fault needs."""
        return {
            "plain": lambda: self._plain,
            "pads": self._pads,
        }[need]()

    def _pads(self) -> Setup:
        return replace(self._plain, settings=replace(self._plain.settings, tree_nodes=16, depth=0))
