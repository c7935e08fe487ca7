"""Whose numbers differ: every worker ran the same canaries, and equal machines give equal bits."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

NOT_COMPARED: Final = ("host",)
"""What two workers may differ in and still be compared bit by bit."""


@dataclass(slots=True)
class Machines:
    """Workers, and the digests of their canaries.

    Attributes:
        cases: CampaignWorker to how many cases it finished.
        seconds: CampaignWorker to the time they took.
    """

    cases: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    hosts: dict[str, str] = field(default_factory=dict)
    _digests: dict[tuple[str, int], dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Take in an outcome."""
        worker = str(outcome["worker"])
        environment = outcome.get("environment")
        if not isinstance(environment, dict):
            return
        self.cases[worker] += 1
        self.seconds[worker] += outcome.get("seconds", 0.0)
        self.hosts[worker] = str(environment.get("host", ""))
        if outcome["canary"] and outcome.get("digest"):
            alike = {name: value for name, value in environment.items() if name not in NOT_COMPARED}
            key = json.dumps(alike, sort_keys=True), outcome["number"]
            self._digests[key][worker] = str(outcome["digest"])

    @property
    def odd(self) -> dict[str, list[int]]:
        """Workers whose canaries differ from those of most equal machines, with the canaries' numbers.

        Where two halves differ, nobody knows which is right: both are named.
        """
        found: dict[str, list[int]] = defaultdict(list)
        for (_, number), digests in self._digests.items():
            for worker in _minority(digests):
                found[worker].append(number)
        return {worker: sorted(numbers) for worker, numbers in sorted(found.items())}

    @property
    def compared(self) -> int:
        """How many workers have an equal machine beside them."""
        return len({worker for digests in self._digests.values() if len(digests) > 1 for worker in digests})


def _minority(digests: Mapping[str, str]) -> list[str]:
    votes = Counter(digests.values()).most_common()
    if len(votes) < 2:
        return []
    most = votes[0][1]
    right = votes[0][0] if votes[1][1] < most else None
    return [worker for worker, digest in digests.items() if digest != right]
