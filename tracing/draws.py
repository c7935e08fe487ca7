"""Draws: uniforms in their order of use, recorded, so that the same chances can be given to two paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from tracing.philox import GENERATORS

BLOCK: Final = 64
"""Fresh draws that are made at a time."""


class Draws(Protocol):
    """A source of chance. Whoever decides by chance takes one uniform a decision, and has no other source."""

    def take(self) -> float:
        """Return the next uniform, float64 in `[0, 1)`."""
        ...


@dataclass(slots=True)
class DrawTape:
    """Uniforms in order of use: the recorded ones first, then those of a seed, if there is one.

    Attributes:
        values: The uniforms known so far, each in `[0, 1)`; fresh ones are known a few ahead.
        num_used: How many of them were taken.
        seed: Of fresh ones; None replays a recording and nothing else.
        generator: Which draws of the seed, see `tracing.philox.GENERATORS`.
        num_recorded: How many of the first are no draws of the seed.
    """

    values: list[float] = field(default_factory=list)
    num_used: int = 0
    seed: int | None = None
    generator: str = "philox"
    num_recorded: int = 0

    @classmethod
    def seeded(cls, seed: int, generator: str = "philox") -> DrawTape:
        """Return an empty tape whose draws follow from the seed and their places."""
        return cls(seed=seed, generator=generator)

    @classmethod
    def recorded(cls, values: Sequence[float], seed: int | None = None) -> DrawTape:
        """Return a tape that gives these and then ends, or with a seed continues with fresh ones."""
        known = [float(value) for value in values]
        return cls(values=known, seed=seed, num_recorded=len(known))

    @property
    def position(self) -> int | None:
        """Place of the next draw among those of the seed; None where it is not one of them."""
        fresh = self.num_used - self.num_recorded
        return None if self.seed is None or fresh < 0 else fresh

    def take(self) -> float:
        """Return the next uniform, float64 in `[0, 1)`.

        Raises:
            UsageError: The recording has ended: whoever asks takes more draws than were recorded.
        """
        if self.num_used == len(self.values):
            if self.seed is None:
                raise UsageError(f"draw {self.num_used} was asked for, only {len(self.values)} are recorded")
            places = np.arange(BLOCK, dtype=np.int64) + (self.num_used - self.num_recorded)
            self.values += GENERATORS[self.generator](self.seed, places).tolist()
        self.num_used += 1
        return self.values[self.num_used - 1]

    def used_since(self, mark: int) -> NDArray[np.float64]:
        """Return what was taken since `num_used` was `mark`, float64 `[D]`."""
        return np.array(self.values[mark : self.num_used], dtype=np.float64)
