"""Draws: uniforms in their order of use, recorded, so that the same chances can be given to two paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError


class Draws(Protocol):
    """A source of chance. Whoever decides by chance takes one uniform a decision, and has no other source."""

    def take(self) -> float:
        """Return the next uniform, float64 in `[0, 1)`."""
        ...


@dataclass(slots=True)
class DrawTape:
    """Uniforms in order of use: the recorded ones first, then fresh ones from a generator, if there is one.

    Attributes:
        values: All uniforms known so far, each in `[0, 1)`.
        num_used: How many of them were taken.
        generator: Source of fresh ones; None replays a recording and nothing else.
    """

    values: list[float] = field(default_factory=list)
    num_used: int = 0
    generator: np.random.Generator | None = None

    @classmethod
    def seeded(cls, seed: int) -> DrawTape:
        """Return an empty tape that draws from a counter-based generator (Philox)."""
        return cls(generator=np.random.Generator(np.random.Philox(seed)))

    @classmethod
    def recorded(cls, values: Sequence[float], seed: int | None = None) -> DrawTape:
        """Return a tape that gives these and then ends, or with a seed continues with fresh ones."""
        tape = cls() if seed is None else cls.seeded(seed)
        tape.values = [float(value) for value in values]
        return tape

    def take(self) -> float:
        """Return the next uniform, float64 in `[0, 1)`.

        Raises:
            UsageError: The recording has ended: whoever asks takes more draws than were recorded.
        """
        if self.num_used == len(self.values):
            if self.generator is None:
                raise UsageError(f"draw {self.num_used} was asked for, only {len(self.values)} are recorded")
            self.values.append(float(self.generator.random()))
        self.num_used += 1
        return self.values[self.num_used - 1]

    def used_since(self, mark: int) -> NDArray[np.float64]:
        """Return what was taken since `num_used` was `mark`, float64 `[D]`."""
        return np.array(self.values[mark : self.num_used], dtype=np.float64)
