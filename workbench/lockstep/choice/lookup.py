"""The prompt lookup that is fastest here: a few n-grams and numbers of tokens, timed against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tracing.settings import DecodeSettings
from workbench.lockstep.choice.decoders import Decoder
from workbench.lockstep.choice.run_off import run_off

NODES: Final = (4, 6, 8, 11, 16)
"""Nodes of the chain, the root included: one more than the tokens that are looked up."""
NGRAMS: Final = (2, 3)
"""Longest n-grams."""
MAX_TOKENS: Final = 128


@dataclass(frozen=True, slots=True)
class LookupChooser:
    """Chooses how to look up on one engine.

    Attributes:
        decoder: Speculative decoding with other settings over the same models.
        prompts: Calibration contexts, none of them measured later.
        max_new_tokens: As they will be measured.
    """

    decoder: Callable[[DecodeSettings], Decoder]
    prompts: Sequence[Sequence[int]]
    max_new_tokens: int = MAX_TOKENS

    def choose(self) -> tuple[DecodeSettings, list[tuple[str, float]]]:
        """Let all decode; returns the fastest, and all in words with seconds per token, fastest first."""
        entrants = {
            f"{nodes - 1} tokens, {most}-gram": DecodeSettings(tree_nodes=nodes, lookup_max=most)
            for nodes in NODES
            for most in NGRAMS
        }
        decoders = {name: self.decoder(settings) for name, settings in entrants.items()}
        measured = run_off(decoders, self.prompts, min(self.max_new_tokens, MAX_TOKENS))
        return entrants[measured[0][0]], measured
