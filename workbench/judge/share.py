"""What an `ok` rests on: its share of the declared steps, stages and rules; below `LEAST` there is none.

Every command takes this law from here. The whole is what the recorder declared (`tracing.recording_plan`,
`lacks` and level of a path) or, where it declared nothing, what it recorded; for a judge, the steps that were
decoded but for those that `--judge-every` leaves out evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

LEAST: Final = Fraction(9, 10)
"""Share of the declared steps, stages and rules that an `ok` needs, each by itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """So many of so many, e.g. 9 of 10 steps."""

    num: int
    of: int

    @property
    def is_enough(self) -> bool:
        """Whether an `ok` may rest on it; nothing at all is never enough."""
        return self.num > 0 and self.num >= LEAST * self.of

    def __str__(self) -> str:
        return f"{self.num} of {self.of}"


@dataclass(frozen=True, slots=True)
class Share:
    """What a verdict rests on.

    Attributes:
        steps: Steps that are whole and were judged, of those declared.
        stages: Stages in which something was looked at, of those declared; None where steps alone are judged.
        rules: Rules that looked at a step or more, of those whose inputs were declared; None as for stages.
        unknown: Why the whole is not known, or what else keeps the run from being all that was declared, one
            clause each.
    """

    steps: Part
    stages: Part | None = None
    rules: Part | None = None
    unknown: tuple[str, ...] = ()

    @property
    def least(self) -> float:
        """The least of its parts, 0 for nothing at all."""
        return min(part.num / part.of if part.of else 0.0 for _, part in self._parts())

    @property
    def sentence(self) -> str:
        """What the verdict rests on, as one clause."""
        parts = [f"{part} {name}" for name, part in self._parts()]
        return f"rests on {', '.join(parts)}"

    def why_not_ok(self) -> str:
        """Return why no `ok` may rest on this, or an empty string."""
        few = [f"only {part} {name} were judged" for name, part in self._parts() if not part.is_enough]
        return "; ".join([*self.unknown, *few])

    def as_json(self) -> dict[str, Any]:
        """Return plain data: numbers of each part, the least share, and what is not known."""
        parts = {name: {"num": part.num, "of": part.of} for name, part in self._parts()}
        return {**parts, "least": float(LEAST), "unknown": list(self.unknown)}

    def _parts(self) -> list[tuple[str, Part]]:
        given = (("steps", self.steps), ("stages", self.stages), ("rules", self.rules))
        return [(name, part) for name, part in given if part is not None]
