"""Two campaigns side by side: causes that are new or gone, cases whose verdict changed, and flaky ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.campaign.merged import Cause, Merged


@dataclass(frozen=True, slots=True)
class CampaignDifference:
    """What differs.

    Attributes:
        new, gone: Causes that only the second, or only the first, has.
        changed: Id of a case to both verdicts, where they differ.
        flaky: Ids of cases that had more than one verdict in one of the campaigns.
        shared: How many cases both have.
    """

    new: tuple[Cause, ...]
    gone: tuple[Cause, ...]
    changed: Mapping[str, tuple[str, str]]
    flaky: tuple[str, ...]
    shared: int

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "new": [list(cause) for cause in self.new],
            "gone": [list(cause) for cause in self.gone],
            "changed": {case: list(pair) for case, pair in self.changed.items()},
            "flaky": list(self.flaky),
            "shared_cases": self.shared,
        }

    def lines(self) -> list[str]:
        """Return the report for a terminal."""
        return [
            f"shared      {self.shared} cases",
            *(f"new         {' '.join(filter(None, cause))}" for cause in self.new),
            *(f"gone        {' '.join(filter(None, cause))}" for cause in self.gone),
            *(
                f"changed     case {case}: {one} before, {two} now"
                for case, (one, two) in self.changed.items()
            ),
            *(f"flaky       case {case}" for case in self.flaky),
        ]


@dataclass(slots=True)
class Verdicts:
    """Verdicts of one campaign by the id of a case."""

    of: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, outcomes: Iterable[Mapping[str, Any]]) -> Verdicts:
        """Return those of all outcomes, canaries of every worker included."""
        verdicts = cls()
        for outcome in outcomes:
            verdicts.of[str(outcome["id"])].append(str(outcome["verdict"]))
        return verdicts

    @property
    def flaky(self) -> set[str]:
        """Ids of cases with more than one verdict."""
        return {case for case, found in self.of.items() if len(set(found)) > 1}


def compare(one: Merged, ones: Verdicts, other: Merged, others: Verdicts) -> CampaignDifference:
    """Return what the second campaign has that the first has not, and the reverse."""
    shared = ones.of.keys() & others.of.keys()
    changed = {
        case: (ones.of[case][0], others.of[case][0])
        for case in sorted(shared)
        if ones.of[case][0] != others.of[case][0]
    }
    return CampaignDifference(
        new=tuple(sorted(other.groups.keys() - one.groups.keys())),
        gone=tuple(sorted(one.groups.keys() - other.groups.keys())),
        changed=changed,
        flaky=tuple(sorted(ones.flaky | others.flaky)),
        shared=len(shared),
    )
