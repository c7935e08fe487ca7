"""What an `ok` rests on: its share of the declared steps, stages and rules; below `LEAST` there is none.

Every command takes this law from here. The whole is what the recorder declared (`tracing.recording_plan`,
`lacks` and level of a path) or, where it declared nothing, what it recorded; for a judge, the steps that were
decoded but for those that `--judge-every` leaves out evenly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from invariants.catalogue import BY_ID
from invariants.needs import columns_needed
from invariants.outcome import Counts

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


def rules_and_stages(
    counts: Mapping[str, Counts], recorded: Collection[str], left_out: Collection[str] = ()
) -> tuple[Part, Part]:
    """Return how many of the rules that apply looked at a step, then the same of their stages.

    A rule applies where its columns were recorded or promised, the facts of the run that it asks for are
    known, and a step had something to look at. Rules that read no column, which hold of an empty row, do not
    count.

    Args:
        counts: Outcomes of one path, by rule id.
        recorded: Columns that any row of the path has, or that were promised.
        left_out: Rules that mean nothing on this path.
    """
    rules: dict[str, bool] = {}
    for rule_id, count in counts.items():
        if rule_id not in left_out and columns_needed(BY_ID[rule_id]) and _applies(count, recorded):
            rules[rule_id] = count.looked > 0
    stages: dict[str, bool] = {}
    for rule_id, looked in rules.items():
        stage = BY_ID[rule_id].stage
        stages[stage] = stages.get(stage, False) or looked
    return _part(rules.values()), _part(stages.values())


def _part(looked: Iterable[bool]) -> Part:
    every = list(looked)
    return Part(sum(every), len(every))


def _applies(count: Counts, recorded: Collection[str]) -> bool:
    if count.looked:
        return True
    if count.vacuous:
        return False  # where all was there, there was nothing to look at
    return all(name in recorded for name in count.missing)
