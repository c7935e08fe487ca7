"""What the screen shows of a campaign: its causes, maps of its axes, its cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tracing.finding import Finding
from tracing.moment import Moment
from workbench.campaign.case import PlannedCase
from workbench.campaign.ledger import outcomes
from workbench.campaign.merged import CauseGroup, Merged
from workbench.campaign.plan import read_plan
from workbench.view.chart import bar, percent
from workbench.view.counted import counted
from workbench.view.lines import Line, Role, Span, note
from workbench.view.width import fitted

CELL: Final = 12
"""Cells of the screen that a cell of a map takes."""
LABEL: Final = 18
BAR: Final = 5
ROLES: Final[Mapping[str, Role]] = {"ok": "good", "near_tie": "good", "missing": "warn", "lost": "bad"}


@dataclass(frozen=True, slots=True)
class BrowsedCase:
    """One case.

    Attributes:
        verdict: Its own; `missing` where no outcome is there.
        run: Its trace below the campaign's folder; None where it was not kept.
        found: Its first finding; None for none.
    """

    case: PlannedCase
    verdict: str = "missing"
    run: str | None = None
    found: Finding | None = None

    @property
    def moment(self) -> Moment | None:
        """Where its first finding is."""
        return None if self.found is None else self.found.moment

    def line(self) -> Line:
        """Return it as a line of the list."""
        over = " ".join(f"{axis}={value}" for axis, value in self.case.over.items())
        told = "" if self.found is None else f"  {self.found.rule or ''} {self.found.message}"
        return (
            Span(f"{self.case.number:>6} "),
            Span(f"{self.verdict:<17}", ROLES.get(self.verdict, "bad" if self.found else "warn")),
            Span("trace " if self.run else "      ", "dim"),
            Span(f"{self.case.name}  {over}"),
            Span(f"  fault {self.case.fault}" if self.case.fault else "", "accent"),
            Span(told, "dim"),
        )


@dataclass(slots=True)
class BrowsedCampaign:
    """A campaign that is looked at.

    Attributes:
        merged: What its outcomes add up to.
    """

    folder: Path
    merged: Merged
    cases: list[BrowsedCase] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> BrowsedCampaign:
        """Read a campaign's folder.

        Raises:
            UsageError: It holds no plan.
        """
        plan = read_plan(folder)
        browsed = cls(folder, Merged(plan), [BrowsedCase(case) for case in plan.cases])
        for outcome in outcomes(folder):
            number = outcome["number"]
            if 0 <= number < len(plan.cases) and plan.cases[number].id == outcome.get("id"):
                browsed.merged.add(outcome)
                browsed._put(outcome)
        return browsed

    def _put(self, outcome: Mapping[str, Any]) -> None:
        number, found = outcome["number"], outcome.get("findings") or []
        self.cases[number] = BrowsedCase(
            self.cases[number].case,
            outcome["verdict"],
            outcome.get("run"),
            Finding.from_json(found[0]) if found else None,
        )

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two axes of more than one value; an axis alone is beside itself."""
        axes = [name for name, values in self.merged.plan.axes.items() if len(values) > 1]
        return list(itertools.combinations(axes, 2)) or [(name, name) for name in axes]

    @property
    def causes(self) -> list[CauseGroup]:
        """Causes, the most frequent first."""
        return sorted(self.merged.groups.values(), key=lambda group: (-len(group.cases), group.cases[0]))

    def status(self) -> str:
        """Return the line at the top."""
        merged = self.merged
        parts = [
            f"campaign {self.folder.name}",
            f"verdict {merged.verdict}",
            f"{len(self.cases) - len(merged.missing)} of {counted(len(self.cases), 'case')}",
            counted(len(merged.groups), "cause"),
            f"{counted(merged.steps, 'step')}",
            *(f"machine {name} differs" for name in merged.machines.odd),
        ]
        return " · ".join(parts)

    def cause_lines(self) -> list[Line]:
        """Return a line per cause."""
        return [self._cause_line(group) for group in self.causes] or [note("no case has a finding")]

    def _cause_line(self, group: CauseGroup) -> Line:
        rule, stage, column, blamed, told = group.cause
        only = group.only_where(self.merged.plan.axes)
        where = "; ".join(f"{axis}={','.join(values)}" for axis, values in only.items())
        return (
            Span(f"{len(group.cases):>5} "),
            Span(f"{rule or 'no rule':<24}", "bad" if group.clean else "accent"),
            Span(f"{stage}.{column} {blamed}  "),
            Span(f"only {where}  " if where else "", "warn"),
            Span(f"fault {', '.join(sorted(group.faults))}  " if group.faults else "", "accent"),
            Span(told, "dim"),
        )

    def map_lines(self, pair: tuple[str, str]) -> list[Line]:
        """Return the map of two axes: a line per value of the first, a cell per value of the second."""
        one, other = pair
        head = f"{one} \\ {other}"
        lines: list[Line] = [
            (
                Span(padded(head, LABEL), "dim"),
                *(Span(padded(value or "none", CELL), "dim") for value in self._columns(pair)),
            )
        ]
        for a in self.merged.plan.axes[one]:
            cells = [self._cell(pair, a, b) for b in self._columns(pair)]
            lines.append((Span(padded(a or "none", LABEL)), *cells))
        return lines

    def _columns(self, pair: tuple[str, str]) -> Sequence[str]:
        return self.merged.plan.axes[pair[1]] if pair[0] != pair[1] else [""]

    def _cell(self, pair: tuple[str, str], a: str, b: str) -> Span:
        members = self.in_cell(pair, a, b)
        judged = [case for case in members if case.verdict != "missing"]
        if not judged:
            return Span(padded("-", CELL), "dim")
        share = sum(case.found is not None for case in judged) / len(judged)
        return Span(padded(f"{bar(share, BAR):<{BAR}} {percent(share)}", CELL), "bad" if share else "good")

    def in_cell(self, pair: tuple[str, str], a: str, b: str) -> list[BrowsedCase]:
        """Return the cases of a cell."""
        wanted = {pair[0]: a} if pair[0] == pair[1] else {pair[0]: a, pair[1]: b}
        return [
            case
            for case in self.cases
            if all(
                (case.case.fault if axis == "fault" else case.case.over.get(axis)) == value
                for axis, value in wanted.items()
            )
        ]

    def at(self, pair: tuple[str, str], row: int, column: int) -> list[BrowsedCase]:
        """Return the cases of a cell by the numbers of its row and column; all without such a cell."""
        rows, columns = self.merged.plan.axes[pair[0]], self._columns(pair)
        if not (0 <= row < len(rows) and 0 <= column < len(columns)):
            return self.cases
        return self.in_cell(pair, rows[row], columns[column])

    def of_cause(self, number: int) -> list[BrowsedCase]:
        """Return the cases of a cause, its smallest one first; all where there is no cause."""
        if not 0 <= number < len(self.causes):
            return self.cases
        group = self.causes[number]
        smallest = group.example["number"]
        return [self.cases[each] for each in sorted(group.cases, key=lambda each: (each != smallest, each))]


def padded(text: str, width: int) -> str:
    """Return a text in a cell whose last place stays empty."""
    return fitted(text, width - 1) + " "
