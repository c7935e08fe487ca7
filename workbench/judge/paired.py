"""Errors over all rows of a run against what a standard mistake would add to them.

In a half precision one row may be off by far more than a small mistake makes, yet rounding does not lean the
way of that mistake row after row. For each group of rows the *lean* is measured: `b = <e, d> / <d, d>`, where
`e` is the path's error and `d` what the mistake would add to the truth; the mistake itself has lean 1, no
error has 0. The reference at the path's own dtype is measured beside it, one of its samples a group in turn.

A group votes for the mistake when the path leans by more than `MARGIN` further than the sample does. If the
path is only another arithmetic, its lean beyond the sample's is as often below the margin as above it, or
more often. The bets of Ville's inequality make votes evidence: every vote for it multiplies the wealth by
`1 + STAKE`, every other one by `1 - STAKE`, and the probability that the wealth ever reaches `1 / RATE` is at
most `RATE`, whenever one looks. `RATE` is shared by all mistakes that are tried.

Rows of one prefix share its rounding, so that groups are not free of each other; this is what the margin is
for, and why the whole run must lean by nearly the mistake itself (`LEANS`), its samples by nearly nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MARGIN: Final = 0.3
"""Share of a mistake that other arithmetic may lean further than a sample of the reference."""
LEANS: Final = (0.6, 1.5)
"""Lean of a whole run between which it is the mistake's own; twice it is another mistake."""
SAMPLES_LEAN: Final = 0.2
"""Lean beyond which the samples show that rounding alone looks like the mistake."""
STAKE: Final = 0.8
RATE: Final = 1e-6
"""Probability, per run, that a sound path is accused."""


@dataclass(slots=True)
class Leaning:
    """One mistake, group after group.

    Attributes:
        clause: What the values would be.
        groups: Groups seen.
        rows: Rows in them.
        size: Sum of `<d, d>`.
        path: Sum of `<e, d>` of the path.
        samples: The same of each sample, `[S]`.
        wealth: Logarithm of the wealth.
        values: Numbers in all rows.
    """

    clause: str
    groups: int = 0
    rows: int = 0
    size: float = 0.0
    path: float = 0.0
    samples: list[float] = field(default_factory=list)
    wealth: float = 0.0
    values: int = 0

    def add(self, error: Floats, samples: Sequence[Floats], added: Floats) -> None:
        """Measure one group.

        Args:
            error: The path's error, `[R, W]`.
            samples: Errors of the reference at the path's dtype, each `[R, W]`.
            added: What the mistake would add to the truth, `[R, W]`.
        """
        size = float((added * added).sum())
        if not (np.isfinite(size) and size > 0 and np.isfinite(error).all() and samples):
            return
        along = [float((each * added).sum()) for each in samples]
        own = float((error * added).sum())
        other = along[self.groups % len(along)]
        self.wealth += math.log1p(STAKE if own - other > MARGIN * size else -STAKE)
        so_far = self.samples or [0.0] * len(along)
        self.samples = [one + more for one, more in zip(so_far, along, strict=False)]
        self.groups, self.rows = self.groups + 1, self.rows + len(added)
        self.values += added.size
        self.size, self.path = self.size + size, self.path + own

    @property
    def lean(self) -> float:
        """Lean of the path over all rows."""
        return self.path / self.size if self.size else 0.0

    @property
    def lean_of_samples(self) -> float:
        """The largest lean of a sample, in magnitude."""
        return max((abs(each) / self.size for each in self.samples), default=0.0) if self.size else 0.0

    @property
    def gap(self) -> float:
        """Root-mean-square of what the mistake adds to a value."""
        return math.sqrt(self.size / self.values) if self.values else 0.0

    def is_made(self, num_tried: int) -> bool:
        """Return whether the path makes the mistake, of `num_tried` that are tried."""
        enough = self.wealth >= math.log(num_tried / RATE)
        return enough and LEANS[0] <= self.lean <= LEANS[1] and self.lean_of_samples <= SAMPLES_LEAN

    def sentence(self, what: str, dtype: str) -> str:
        """Say how the path leans."""
        return (
            f"over {self.rows} rows {what} lean by {self.lean:.2f} towards {self.clause} (1 is that mistake, "
            f"and the reference at {dtype} leans by at most {self.lean_of_samples:.2f}); a typical value is "
            f"off by {self.gap:.2g}, which rounding may do to one row, but to all in less than one of "
            f"{1 / RATE:.0e} runs"
        )


@dataclass(slots=True)
class Paired:
    """All mistakes that are tried on one quantity.

    Attributes:
        by_clause: What was measured of each.
    """

    by_clause: dict[str, Leaning] = field(default_factory=dict)

    def add(self, clause: str, error: Any, samples: Sequence[Any], added: Any) -> None:
        """Measure one group of rows along one mistake, see `Leaning.add`."""
        leaning = self.by_clause.setdefault(clause, Leaning(clause))
        wide = [np.asarray(each, np.float64) for each in samples]
        leaning.add(np.asarray(error, np.float64), wide, np.asarray(added, np.float64))

    def made(self) -> Leaning | None:
        """Return the mistake that the path makes: of several the one whose lean is closest to 1."""
        found = [each for each in self.by_clause.values() if each.is_made(len(self.by_clause))]
        return min(found, key=lambda each: abs(each.lean - 1), default=None)
