"""How far a teacher in int4 is from its own unquantised weights: quality, never a finding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from reference.model import ReferenceModels
from reference.teacher import forward
from reference.visible import causal
from tracing.models import ModelPair
from workbench.judge.turn_state import TurnState


@dataclass(frozen=True, slots=True)
class Quality:
    """What the unquantised teacher says of an emitted text, each token after those before it.

    Attributes:
        num_tokens: Tokens emitted.
        num_agreeing: Of these, tokens that the unquantised teacher chooses too.
        agreeing_prefix: Of each turn, tokens before the first that it does not choose.
    """

    num_tokens: int
    num_agreeing: int
    agreeing_prefix: tuple[int, ...]

    def sentence(self) -> str:
        """Return it for a person."""
        if not self.num_tokens:
            return "no token to compare"
        prefix = ", ".join(map(str, self.agreeing_prefix))
        return (
            f"the unquantised teacher would choose {self.num_agreeing} of {self.num_tokens} tokens too "
            f"({100 * self.num_agreeing / self.num_tokens:.1f} %); it first differs after {prefix} tokens"
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "num_tokens": self.num_tokens,
            "num_agreeing": self.num_agreeing,
            "agreeing_prefix": list(self.agreeing_prefix),
        }


def quality_of(unquantised: ModelPair, turns: Iterable[TurnState], device: str) -> Quality:
    """Run the unquantised teacher once over each turn, in float32.

    Args:
        unquantised: The pair before its teacher was rounded.
        turns: What was decoded with the rounded one.
        device: Where the reference runs.
    """
    models = ReferenceModels(unquantised, "float32", device)
    equal = [_agreement(models, turn.prompt, turn.emitted) for turn in turns if turn.emitted]
    return Quality(
        sum(map(len, equal)),
        sum(sum(turn) for turn in equal),
        tuple((*turn, False).index(False) for turn in equal),
    )


def _agreement(models: ReferenceModels, prompt: list[int], emitted: list[int]) -> list[bool]:
    """Return for each emitted token whether it is the teacher's own choice after those before it."""
    tokens = models.tokens([*prompt, *emitted[:-1]])
    positions = torch.arange(len(tokens), device=models.device)
    visible = causal(len(tokens), None, models.device)
    rows = forward(models, tokens, positions, visible, num_logits=len(emitted))
    chosen: list[int] = rows.logits.argmax(-1).tolist()
    return [own == token for own, token in zip(chosen, emitted, strict=True)]
