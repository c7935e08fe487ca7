"""One verdict on a campaign: every case accounted for, findings grouped by cause, machines compared."""

from __future__ import annotations

import itertools
import re
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from workbench.campaign.acceptance import CampaignAcceptance
from workbench.campaign.leaning import CampaignLeanings
from workbench.campaign.machines import Machines
from workbench.campaign.plan import Plan
from workbench.judge.coverage import REQUIRED
from workbench.judge.verdict import EXIT_CODES, WORST_FIRST

NEVER_RUN: Final = ("lost", "not run")
"""Verdicts of cases of which nothing was judged."""
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")

Cause = tuple[str, str, str, str, str]


@dataclass(slots=True)
class CauseGroup:
    """Findings of one cause.

    Attributes:
        cause: Rule, stage, column, who is blamed, and the explanation with its numbers left out.
        cases: Numbers of the cases whose first finding it is, in order.
        values: Axis to the values under which it was seen.
        clean: How many of its cases have no planted fault.
        example: Outcome of the smallest case: the fewest steps, then the lowest number.
    """

    cause: Cause
    cases: list[int] = field(default_factory=list)
    values: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    clean: int = 0
    example: Mapping[str, Any] = field(default_factory=dict)

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Take in a case; in which order cases come makes no difference."""
        insort(self.cases, outcome["number"])
        self.clean += not outcome["fault"]
        for axis, value in axes_of(outcome).items():
            self.values[axis].add(value)
        if not self.example or _size(outcome) < _size(self.example):
            self.example = outcome

    @property
    def faults(self) -> set[str]:
        """Faults that were planted in its cases."""
        return self.values.get("fault", set())

    @property
    def first(self) -> Mapping[str, Any]:
        """The first finding of the example."""
        found: Mapping[str, Any] = self.example["findings"][0]
        return found

    def only_where(self, axes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Return the axes of which not all values show it, with those that do."""
        return {
            axis: sorted(seen)
            for axis, seen in self.values.items()
            if axis != "fault" and len(seen) < len(axes.get(axis, ()))
        }


@dataclass(slots=True)
class Merged:
    """What outcomes add up to; its size grows with causes and cases' numbers, not with steps.

    Attributes:
        verdicts: Verdict to number of cases, those with a planted fault apart.
        groups: By cause.
        cells: Two axes and their values to how many cases there were, and how many had findings.
        missed: Cases whose planted fault was not noticed; it may not have shown in so few steps.
        noticed: In how many cases a planted fault was.
        faults: Planted fault to whether any case noticed it.
        steps, unjudged, near_ties, emitted: Sums over all cases.
        coverage: Counter to its sum.
        accepted: Axis and value to sum and number of accepted drafts a step, cases without a fault.
        too_little: Cases of which too little was judged. One that is inconclusive only for what it did not
            exercise is none: what counts is what the campaign exercised.
        problems: Cases that were lost or not run, with why.
        deaths: Cases that were tried again, and what the journal of the dead worker says.
        machines: What workers have in common, and who differs.
        acceptance: Statistics over the cases that draft alike.
        leanings: Small mistakes in a half precision, over all cases.
    """

    plan: Plan
    verdicts: Counter[str] = field(default_factory=Counter)
    groups: dict[Cause, CauseGroup] = field(default_factory=dict)
    cells: dict[tuple[str, str, str, str], tuple[int, int]] = field(default_factory=dict)
    missed: list[int] = field(default_factory=list)
    noticed: int = 0
    faults: dict[str, bool] = field(default_factory=dict)
    steps: int = 0
    unjudged: int = 0
    near_ties: int = 0
    emitted: int = 0
    coverage: Counter[str] = field(default_factory=Counter)
    accepted: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    too_little: list[int] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    deaths: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    machines: Machines = field(default_factory=Machines)
    acceptance: CampaignAcceptance = field(init=False)
    leanings: CampaignLeanings = field(default_factory=CampaignLeanings)
    _seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Know the axes."""
        self.acceptance = CampaignAcceptance(self.plan.axes)

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Take in an outcome; a canary counts as a case once, whoever ran it."""
        number = outcome["number"]
        self.machines.add(outcome)
        if outcome.get("deaths"):
            self.deaths[number] = list(outcome["deaths"])
        if number in self._seen:
            return
        self._seen.add(number)
        verdict = outcome["verdict"]
        if verdict in NEVER_RUN:
            self.verdicts[verdict] += 1
            self.problems[number] = str(outcome.get("problem", ""))
            return
        self._count(outcome)
        self.acceptance.add(outcome)
        self.leanings.add(outcome)
        if outcome["findings"]:
            cause = cause_of(outcome["findings"][0])
            self.groups.setdefault(cause, CauseGroup(cause)).add(outcome)

    @property
    def missing(self) -> list[int]:
        """Numbers of the cases of which there is no outcome."""
        return [case.number for case in self.plan.cases if case.number not in self._seen]

    @property
    def never_noticed(self) -> list[str]:
        """Planted faults that no case noticed: the checks are blind to them, which is a finding."""
        return sorted(name for name, noticed in self.faults.items() if not noticed)

    @property
    def lacking(self) -> list[str]:
        """What must happen somewhere in a campaign for an `ok`, and happened in no case."""
        return [name for name in REQUIRED if not self.coverage[name]]

    @property
    def never_exercised(self) -> list[str]:
        """Counters of coverage that are zero over the whole campaign."""
        return sorted(name for name, count in self.coverage.items() if not count)

    @property
    def verdict(self) -> str:
        """The worst verdict of a case without a planted fault; `inconclusive` where cases are missing.

        A fault that was planted and noticed nowhere is as bad as a finding.
        """
        for verdict in WORST_FIRST:
            if self.verdicts[verdict]:
                return verdict
        if self.never_noticed:
            return "structural"
        if self.machines.odd or any(self.leanings.made()):
            return "numeric"
        if self.missing or self.problems or self.too_little or self.lacking:
            return "inconclusive"
        return "near_tie" if self.verdicts["near_tie"] else "ok"

    @property
    def exit_code(self) -> int:
        """0 ok and near_tie, 1 findings, 3 where cases were lost, 4 inconclusive."""
        code = EXIT_CODES[self.verdict]
        return 3 if code == EXIT_CODES["inconclusive"] and "lost" in self.verdicts else code

    def _count(self, outcome: Mapping[str, Any]) -> None:
        self.steps += outcome["steps"]
        self.unjudged += outcome["unjudged_steps"]
        self.near_ties += outcome["near_ties"]
        self.emitted += outcome["emitted"]
        self.coverage.update(outcome["coverage"])
        for (one, a), (other, b) in itertools.combinations(axes_of(outcome).items(), 2):
            cases, found = self.cells.get((one, a, other, b), (0, 0))
            self.cells[one, a, other, b] = cases + 1, found + (outcome["num_findings"] > 0)
        if outcome["fault"]:
            self.faults.setdefault(outcome["fault"], False)
            if outcome["num_findings"]:
                self.faults[outcome["fault"]] = True
                self.noticed += 1
            else:
                insort(self.missed, outcome["number"])
            return
        self.verdicts[outcome["verdict"]] += 1
        if outcome["verdict"] == "inconclusive" and not outcome.get("is_enough"):
            insort(self.too_little, outcome["number"])
        counts = outcome["num_accepted"]
        for key in axes_of(outcome).items():
            total, steps = self.accepted.get(key, (0, 0))
            self.accepted[key] = total + sum(counts), steps + len(counts)


def merge(plan: Plan, outcomes: Iterable[Mapping[str, Any]]) -> Merged:
    """Return what the outcomes of a plan add up to; those of another plan are left out."""
    ids = [case.id for case in plan.cases]
    merged = Merged(plan)
    for outcome in outcomes:
        number = outcome["number"]
        if 0 <= number < len(ids) and outcome.get("id") == ids[number]:
            merged.add(outcome)
    return merged


def cause_of(finding: Mapping[str, Any]) -> Cause:
    """Return what findings of one cause have in common."""
    told = _NUMBER.sub("#", str(finding.get("explanation") or ""))
    return (
        str(finding.get("rule") or ""),
        str(finding["stage"]),
        str(finding["column"]),
        str(finding["guilty"]),
        told,
    )


def axes_of(outcome: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of a case by axis, its fault among them."""
    return {**outcome["over"], **({"fault": outcome["fault"]} if outcome["fault"] else {})}


def _size(outcome: Mapping[str, Any]) -> tuple[int, int]:
    return outcome["steps"], outcome["number"]
