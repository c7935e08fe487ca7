"""Acceptance over a whole campaign: the alarms of a run over all its cases, and along the axes of the plan.

Cases that draft alike are put together: those whose options differ only in what changes no draft and no
choice. Cases have no order in time, so that nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from invariants.bands import NUM_DEPTHS, Axis, tries
from invariants.collapse import single
from invariants.facts import Facts, facts_of
from invariants.outcome import Violated
from invariants.run import over_statistics
from invariants.statistics import RunStatistics
from invariants.thresholds import Thresholds
from tracing.reader import open_run

UNMOVED: Final = (
    *("dtype", "kv_layout", "block_size", "commit_mode"),
    *("eager", "reference", "max_new_tokens"),
)
"""Axes along which drafts and choices stay the same, but for near ties."""
MANY: Final = 4096
"""Steps that are put together before they are added up."""
ALONG: Final = "CAMPAIGN-AXIS"

Alike = tuple[tuple[str, str], ...]
"""Axes and values that cases have in common, those that move nothing left out."""


@dataclass(frozen=True, slots=True)
class CampaignAlarm:
    """A warning over many cases.

    Attributes:
        rule: Its id; `ALONG` for one along an axis of the plan.
        alike: What its cases have in common.
        message: What was seen.
    """

    rule: str
    alike: Alike
    message: str


def facts_told(folder: Path) -> dict[str, list[Any]]:
    """Return the facts of every step of the path under test in a trace without findings, as plain lists."""
    run = open_run(folder)
    rows = run.path("fused") if "fused" in run.path_names else ()
    known = ("accepted_nodes", "parents", "depths", "valid", "token_ids", "committed_len")
    facts = [facts_of(row) for row in rows if all(row.get(name) is not None for name in known)]
    return {
        each.name: [value for one in facts for value in getattr(one, each.name).tolist()]
        for each in fields(Facts)
    }


def _facts_from(told: Mapping[str, list[Any]]) -> Facts:
    facts = Facts.zeros(len(told["cut"]))
    for each in fields(Facts):
        getattr(facts, each.name)[:] = told[each.name]
    return facts


@dataclass(slots=True)
class AlikeCases:
    """Sums over cases that draft alike.

    Attributes:
        statistics: Of all their steps.
        axes: Axis of the plan to tries by the number of its value.
    """

    statistics: RunStatistics = field(default_factory=RunStatistics)
    axes: dict[str, Axis] = field(default_factory=dict)
    _waiting: list[tuple[dict[str, int], Facts]] = field(default_factory=list)
    _steps: int = 0

    def add(self, facts: Facts, numbers: dict[str, int]) -> None:
        """Take in the steps of a case; `numbers` says which value of each axis it has."""
        self._waiting.append((numbers, facts))
        self._steps += len(facts.cut)
        if self._steps >= MANY:
            self.settle()

    def settle(self) -> None:
        """Add up what waits."""
        if not self._waiting:
            return
        sizes = [len(facts.cut) for _, facts in self._waiting]
        joined = Facts(
            **{
                each.name: np.concatenate([getattr(facts, each.name) for _, facts in self._waiting])
                for each in fields(Facts)
            }
        )
        self.statistics.add(joined)
        self.statistics.bands.time = Axis()
        self.statistics.by_time.clear()
        self.statistics.requests_by_time.clear()
        whole = ~joined.cut
        kept = joined.only(whole)
        places = np.stack([kept.prompt_id, kept.turn, kept.step], axis=1)
        for name in sorted({name for numbers, _ in self._waiting for name in numbers}):
            values = np.repeat([numbers.get(name, -1) for numbers, _ in self._waiting], sizes)[whole]
            if len(values):
                self.axes.setdefault(name, Axis()).add(values, tries(kept), 0, places)
        self._waiting, self._steps = [], 0

    def by_depth(self) -> list[tuple[int, int]]:
        """Return how often a path could pass each depth, and did, from depth 1."""
        self.settle()
        passed, could = self.statistics.passed, self.statistics.could_pass
        return [(could[depth], passed[depth]) for depth in sorted(could) if could[depth]]


@dataclass(slots=True)
class CampaignAcceptance:
    """Acceptance of all cases without a planted fault and without a finding.

    Attributes:
        axes: Of the plan, with their values.
        by_alike: What cases have in common to their sums.
    """

    axes: Mapping[str, Sequence[str]]
    by_alike: dict[Alike, AlikeCases] = field(default_factory=dict)

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Take in a case."""
        told = outcome.get("facts")
        if outcome["fault"] or outcome["num_findings"] or not told:
            return
        over: Mapping[str, str] = outcome["over"]
        alike = tuple((name, value) for name, value in over.items() if name not in UNMOVED)
        numbers = {
            name: self.axes[name].index(over[name])
            for name in UNMOVED
            if name in over and over[name] in self.axes.get(name, ())
        }
        self.by_alike.setdefault(alike, AlikeCases()).add(_facts_from(told), numbers)

    def alarms(self) -> Iterator[CampaignAlarm]:
        """Yield what is seen over cases that draft alike."""
        for alike, cases in sorted(self.by_alike.items()):
            cases.settle()
            for outcome in over_statistics(cases.statistics):
                if isinstance(outcome, Violated):
                    yield CampaignAlarm(outcome.rule, alike, outcome.findings[0].message)
            for name, axis in cases.axes.items():
                for found in single(name, axis, Thresholds()):
                    depth = (
                        f"depths from {NUM_DEPTHS} on"
                        if found.depth == NUM_DEPTHS
                        else f"depth {found.depth}"
                    )
                    took = f"{found.passed} of {found.tried} times"
                    where = f"{name}={self.axes[name][found.low]}"
                    yield CampaignAlarm(
                        ALONG, alike, f"at {where}, {depth} is accepted {took}, elsewhere {found.rest:.0%}"
                    )
