"""What a run's statistics rules need, gathered step by step in memory that does not grow with the run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from invariants.bands import Bands
from invariants.facts import Facts
from invariants.rule import IntArray

MAX_REQUESTS: Final = 1024
"""Requests that are told apart in a block of the time series; others share their sums with one of them."""
MAX_BLOCKS: Final = 64
"""Blocks of the time series; when full, neighbours are merged, so memory stays flat."""


@dataclass(slots=True)
class Sample:
    """Count, sum and sum of squares of accepted lengths.

    Attributes:
        count: Steps.
        total: Sum of A.
        squares: Sum of A * A.
    """

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, other: Sample) -> None:
        """Take in another sample."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float:
        """Mean A; 0 for an empty sample."""
        return self.total / self.count if self.count else 0.0

    @property
    def squared_error(self) -> float:
        """Squared standard error of the mean."""
        variance = self.squares / self.count - self.mean**2
        return max(variance, 0.0) / self.count


def fall(early: Sample, late: Sample) -> tuple[float, float]:
    """Return how much of the mean is lost, as a share, and in standard errors."""
    lost = early.mean - late.mean
    error = math.sqrt(early.squared_error + late.squared_error)
    share = lost / early.mean if early.mean else 0.0
    return share, (lost / error if error else math.copysign(math.inf, lost) if lost else 0.0)


@dataclass(slots=True)
class RunStatistics:
    """Sums over the uncut steps of a run.

    Attributes:
        accepted: Steps by number of accepted nodes.
        num_full: Steps whose path went to the deepest level of their tree.
        could_pass, passed: By depth: steps whose path came to a node with children one level above, and
            steps whose path went on to this depth.
        num_contested: Accepted nodes that had siblings.
        num_branch_wins: Those that were not the first of their siblings.
        num_drafted: Steps with at least three draft nodes on at least two levels.
        num_identical: Those whose draft tokens were all the same.
        by_length: Accepted lengths by binary order of L.
        by_time: Accepted lengths in order of time, in at most `MAX_BLOCKS` blocks.
        requests_by_time: By block of `by_time`, those of each request of a batch; empty where none is known.
        block_steps: Steps per full block of `by_time`.
        bands: Drafts tried and accepted by request, batch row, length, step and time.
        num_promises, promised, num_kept: Sums of the promises of drafters, see `Facts`.
    """

    accepted: Counter[int] = field(default_factory=Counter)
    num_full: int = 0
    could_pass: Counter[int] = field(default_factory=Counter)
    passed: Counter[int] = field(default_factory=Counter)
    num_contested: int = 0
    num_branch_wins: int = 0
    num_drafted: int = 0
    num_identical: int = 0
    by_length: dict[int, Sample] = field(default_factory=dict)
    by_time: list[Sample] = field(default_factory=list)
    requests_by_time: list[dict[int, Sample]] = field(default_factory=list)
    block_steps: int = 16
    bands: Bands = field(default_factory=Bands)
    num_promises: int = 0
    promised: int = 0
    num_kept: int = 0

    @property
    def num_steps(self) -> int:
        """Uncut steps seen."""
        return self.accepted.total()

    @property
    def num_accepted(self) -> int:
        """Accepted nodes of all steps."""
        return sum(length * steps for length, steps in self.accepted.items())

    def add(self, facts: Facts) -> None:
        """Take in steps whose tree and path are sound, in order of time; cut ones are passed over."""
        facts = facts.only(~facts.cut)
        accepted = facts.num_accepted
        self.bands.add(facts, self.num_steps)
        for name in ("num_promises", "promised", "num_kept"):
            setattr(self, name, getattr(self, name) + int(getattr(facts, name).sum()))
        for length, steps in enumerate(np.bincount(accepted)):
            if steps:
                self.accepted[length] += int(steps)
        self.num_full += int(np.count_nonzero((accepted == facts.deepest) & (facts.deepest > 0)))
        for depth in range(1, int(accepted.max(initial=0)) + 2):
            went_on = int(np.count_nonzero(accepted >= depth))
            came = went_on + int(np.count_nonzero((accepted == depth - 1) & facts.could_go_on))
            self.passed[depth] += went_on
            self.could_pass[depth] += came
        self.num_contested += int(facts.num_contested.sum())
        self.num_branch_wins += int(facts.num_branch_wins.sum())
        self.num_drafted += int(np.count_nonzero(facts.drafted))
        self.num_identical += int(np.count_nonzero(facts.identical))
        self._add_lengths(facts)
        self._add_times(accepted, np.where(facts.batch_row >= 0, facts.prompt_id, -1))

    def _add_lengths(self, facts: Facts) -> None:
        """Put accepted lengths under the binary order of their prefix."""
        orders = np.frexp(np.maximum(facts.committed_len, 0).astype(np.float64))[1]
        for order in np.unique(orders).tolist():
            self.by_length.setdefault(order, Sample()).add(sample(facts.num_accepted[orders == order]))

    def _add_times(self, accepted: IntArray, requests: IntArray) -> None:
        """Append accepted lengths to the time series, block by block."""
        start = 0
        while start < len(accepted):
            if not self.by_time or self.by_time[-1].count >= self.block_steps:
                if len(self.by_time) == MAX_BLOCKS:
                    self._halve_time()
                self.by_time.append(Sample())
                self.requests_by_time.append({})
            room = self.block_steps - self.by_time[-1].count
            part = accepted[start : start + room]
            self.by_time[-1].add(sample(part))
            for request in np.unique(requests[start : start + room]).tolist():
                own = part[requests[start : start + room] == request]
                if request >= 0:
                    key = request % MAX_REQUESTS
                    self.requests_by_time[-1].setdefault(key, Sample()).add(sample(own))
            start += room

    def _halve_time(self) -> None:
        """Merge neighbouring blocks of the time series."""
        for early, late in zip(self.by_time[::2], self.by_time[1::2], strict=True):
            early.add(late)
        self.by_time, self.block_steps = self.by_time[::2], 2 * self.block_steps
        pairs = zip(self.requests_by_time[::2], self.requests_by_time[1::2], strict=True)
        self.requests_by_time = [joined_samples(pair) for pair in pairs]


def joined_samples(blocks: Iterable[Mapping[int, Sample]]) -> dict[int, Sample]:
    """Return the sums of each request over several blocks."""
    found: dict[int, Sample] = {}
    for block in blocks:
        for request, each in block.items():
            found.setdefault(request, Sample()).add(each)
    return found


def fall_within(
    early: Mapping[int, Sample], late: Mapping[int, Sample]
) -> tuple[Sample, Sample, float, float]:
    """Return how much of the mean requests lose that are in both parts, each against itself.

    A request counts as often as in the part that has fewer of its steps.

    Returns:
        Steps of these requests early and late, the share that is lost, and by how many standard errors.
    """
    shared = sorted(early.keys() & late.keys())
    weights = np.array([min(early[each].count, late[each].count) for each in shared], dtype=np.float64)
    before, after = (np.array([part[each].mean for each in shared]) for part in (early, late))
    errors = np.array([early[each].squared_error + late[each].squared_error for each in shared])
    lost, error = float(weights @ (before - after)), math.sqrt(float(weights**2 @ errors))
    mean = float(weights @ before)
    sums = [joined_samples([{0: part[each]} for each in shared]).get(0, Sample()) for part in (early, late)]
    deviations = lost / error if error else math.copysign(math.inf, lost) if lost else 0.0
    return sums[0], sums[1], lost / mean if mean else 0.0, deviations


def sample(accepted: IntArray) -> Sample:
    """Return count, sum and sum of squares of accepted lengths."""
    return Sample(len(accepted), int(accepted.sum()), int((accepted.astype(np.int64) ** 2).sum()))
