"""Errors over all rows of a run against what a standard mistake would add to them.

In a half precision one row may be off by far more than a small mistake makes, yet rounding does not lean the
way of that mistake row after row. For each group of rows the *lean* is measured: `b = <e, d> / <d, d>`, where
`e` is the path's error and `d` what the mistake would add to the truth; the mistake itself has lean 1, no
error has 0. The reference at the path's own dtype is measured beside it: the mean of its samples.

A group votes for the mistake when the path leans by more than `MARGIN` further than the samples do. If the
path is only another arithmetic, its lean beyond the samples' is as often below the margin as above it, or
more often. The bets of Ville's inequality make votes evidence: every vote for it multiplies the wealth by
`1 + stake`, every other one by `1 - stake`, and the probability that the wealth ever reaches `1 / RATE` is at
most `RATE`, whenever one looks. `RATE` is shared by all mistakes that are tried. The stake of a group is set
by what its samples alone show: little where rounding leans about as far as the mistake, so that such groups
neither make nor spoil a case (by the rule of Kelly; of groups that all say little no sum says much).

Rows of one prefix share its rounding, so that groups are not free of each other; this is what the margin is
for, and why the whole run must lean by nearly the mistake itself (`LEANS`), its samples by nearly nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
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
LAW_LEANS: Final = (0.35, 3.0)
"""The same of a law that is too sharp or too flat: half of it, or twice as much, is no other mistake."""
STAKE: Final = 0.8
"""The most that is ever staked."""
RATE: Final = 1e-6
"""Probability, per run, that a sound path is accused."""


@dataclass(slots=True)
class Leaning:
    """One mistake, group after group.

    Attributes:
        clause: What the values would be.
        leans: Lean of a whole run between which the mistake is named.
        groups: Groups seen.
        rows: Rows in them.
        size: Sum of `<d, d>`.
        path: Sum of `<e, d>` of the path.
        samples: The same of each sample, `[S]`.
        wealth: Logarithm of the wealth.
        values: Numbers in all rows.
    """

    clause: str
    leans: tuple[float, float] = LEANS
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
        stake = _stake(np.array(along) / size, np.array([(each * each).mean() for each in samples]) / size)
        self.wealth += math.log1p(stake if own - sum(along) / len(along) > MARGIN * size else -stake)
        so_far = self.samples or [0.0] * len(along)
        self.samples = [one + more for one, more in zip(so_far, along, strict=False)]
        self.groups, self.rows = self.groups + 1, self.rows + len(added)
        self.values += added.size
        self.size, self.path = self.size + size, self.path + own

    def join(self, other: Leaning) -> None:
        """Take in the same mistake of another, independent run: evidence multiplies, so logarithms add up."""
        self.wealth += other.wealth
        so_far = self.samples or [0.0] * len(other.samples)
        self.samples = [one + more for one, more in zip(so_far, other.samples, strict=False)]
        self.groups, self.rows = self.groups + other.groups, self.rows + other.rows
        self.values += other.values
        self.size, self.path = self.size + other.size, self.path + other.path

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
        return enough and self.leans[0] <= self.lean <= self.leans[1] and self.lean_of_samples <= SAMPLES_LEAN

    def can_be_made(self, num_tried: int, groups_left: int) -> bool:
        """Return whether so many more groups could still make a case, if each of them voted for it."""
        return self.wealth + groups_left * math.log1p(STAKE) >= math.log(num_tried / RATE)

    def sentence(self, what: str, dtype: str) -> str:
        """Say how the path leans."""
        return (
            f"over {self.rows} rows {what} lean by {self.lean:.2f} towards {self.clause} (1 is that mistake, "
            f"and the reference at {dtype} leans by at most {self.lean_of_samples:.2f}); a typical value is "
            f"off by {self.gap:.2g}, which rounding may do to one row, but to all in less than one of "
            f"{1 / RATE:.0e} runs"
        )


def _stake(leans: Floats, if_free: Floats) -> float:
    """Return what to stake on a group.

    Args:
        leans: Of its samples, `[S]`.
        if_free: Mean square of each sample's errors over `<d, d>`: the square of its lean if errors were free
            of each other.
    """
    spread = math.sqrt(max(float((leans * leans).mean()), float(if_free.mean())) * (1 + 1 / len(leans)))
    if spread <= 0:
        return STAKE
    share_of_votes = 0.5 * (1 + math.erf((1 - MARGIN) / spread / math.sqrt(2)))
    return min(STAKE, 2 * share_of_votes - 1)


@dataclass(slots=True)
class Paired:
    """All mistakes that are tried on one quantity.

    Attributes:
        by_clause: What was measured of each.
    """

    by_clause: dict[str, Leaning] = field(default_factory=dict)

    def add(
        self,
        clause: str,
        error: Any,
        samples: Sequence[Any],
        added: Any,
        leans: tuple[float, float] = LEANS,
    ) -> None:
        """Measure one group of rows along one mistake, see `Leaning.add`."""
        leaning = self.by_clause.setdefault(clause, Leaning(clause, leans))
        wide = [np.asarray(each, np.float64) for each in samples]
        leaning.add(np.asarray(error, np.float64), wide, np.asarray(added, np.float64))

    def is_open(self, clause: str, groups_left: int) -> bool:
        """Return whether a mistake is worth measuring: it is new, or could still be named."""
        leaning = self.by_clause.get(clause)
        return leaning is None or leaning.can_be_made(len(self.by_clause), groups_left)

    def join(self, other: Paired) -> None:
        """Take in what another, independent run measured."""
        for clause, leaning in other.by_clause.items():
            self.by_clause.setdefault(clause, Leaning(clause, leaning.leans)).join(leaning)

    def as_json(self) -> list[dict[str, Any]]:
        """Return what was measured, as plain data."""
        return [asdict(each) for each in self.by_clause.values()]

    @classmethod
    def from_json(cls, held: list[dict[str, Any]]) -> Paired:
        """Return what `as_json` gave."""
        every = [Leaning(**{**each, "leans": tuple(each["leans"])}) for each in held]
        return cls({each.clause: each for each in every})

    def made(self) -> Leaning | None:
        """Return the mistake that the path makes: of several the one whose lean is closest to 1."""
        found = [each for each in self.by_clause.values() if each.is_made(len(self.by_clause))]
        return min(found, key=lambda each: abs(each.lean - 1), default=None)
