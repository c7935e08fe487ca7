"""How large a mistake could have been without anyone noticing: the allowances of the rows that passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
IN_NAT: Final = frozenset({"logits", "draft_logprobs"})
"""Quantities whose gaps are differences of logarithms; the others are told as shares of their rows."""
IS_LARGE: Final = {"nat": 0.01, "of a row's size": 0.01}
"""Typical gaps from which on another precision is advised. Small mistakes make some hundredths of a nat:
a drafted position that is one too far makes 0.04, a temperature of 0.9 makes 0.13 (measured, float32)."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What could have hidden in one quantity of one stage.

    Attributes:
        rows: Rows judged.
        typical: Mean over steps of the median gap that a row may have.
        largest: The largest that any row may have.
        unit: `nat`, or `of a row's size`.
        steps: Steps that `typical` is a mean of.
    """

    rows: int
    typical: float
    largest: float
    unit: str
    steps: int = 1

    @classmethod
    def of(cls, quantity: str, allowances: Floats, sizes: Floats) -> Hidden | None:
        """Return what could hide in the rows of one step; None where none has an allowance.

        Args:
            quantity: What is compared.
            allowances: Largest error that each row may have, `[R]`; NaN where it is not judged.
            sizes: Largest magnitude of each row, `[R]`.
        """
        in_nat = quantity in IN_NAT
        if not in_nat:
            allowances, sizes = allowances[sizes > 0], sizes[sizes > 0]
        gaps = allowances if in_nat else allowances / sizes
        gaps = gaps[np.isfinite(gaps)]
        if not gaps.size:
            return None
        unit = "nat" if in_nat else "of a row's size"
        return cls(int(gaps.size), float(np.median(gaps)), float(gaps.max()), unit)

    def __or__(self, other: Hidden) -> Hidden:
        """Join what could have hidden in two steps, or in two parts of one."""
        steps = self.steps + other.steps
        typical = (self.typical * self.steps + other.typical * other.steps) / steps
        return Hidden(self.rows + other.rows, typical, max(self.largest, other.largest), self.unit, steps)

    @property
    def is_large(self) -> bool:
        """Whether a mistake of a size that is known from ports could have hidden."""
        return self.typical > IS_LARGE[self.unit]

    def __str__(self) -> str:
        """Say it in a few words: typical, and at most."""
        unit = "nat" if self.unit == "nat" else "of a row"
        return f"{self.typical:.2g} {unit} (at most {self.largest:.2g})"

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def joined(one: Mapping[str, Hidden], other: Mapping[str, Hidden]) -> dict[str, Hidden]:
    """Join what could have hidden, quantity by quantity."""
    found = dict(one)
    for quantity, hidden in other.items():
        found[quantity] = found[quantity] | hidden if quantity in found else hidden
    return found


def sentence(hidden: Mapping[str, Hidden], dtype: str) -> str:
    """Return what could have hidden, stage by stage; an empty string where no float was compared."""
    if not hidden:
        return ""
    told = ", ".join(f"{quantity.replace('.', ' ')} {each}" for quantity, each in hidden.items())
    advice = ""
    if dtype != "float32" and any(each.is_large for each in hidden.values()):
        advice = "; a run with --dtype float32 notices mistakes that are far smaller"
    return f"gaps of {told}{advice}"
