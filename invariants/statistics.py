"""What a run's statistics rules need, gathered step by step in memory that does not grow with the run."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from invariants.inputs import Row

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
        block_steps: Steps per full block of `by_time`.
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
    block_steps: int = 16

    @property
    def num_steps(self) -> int:
        """Uncut steps seen."""
        return self.accepted.total()

    @property
    def num_accepted(self) -> int:
        """Accepted nodes of all steps."""
        return sum(length * steps for length, steps in self.accepted.items())

    def add(self, row: Row) -> None:
        """Take in a step whose tree and path are sound; a step cut at EOS or the limit is passed over.

        Args:
            row: Needs accepted_nodes, parents, depths, valid, token_ids, committed_len.
        """
        if row.get("stop_reason") is not None:
            return
        children = _children(row)
        path = [0, *(int(node) for node in row["accepted_nodes"])]
        num_accepted = len(path) - 1
        self.accepted[num_accepted] += 1
        nodes = [node for below in children.values() for node in below]
        deepest = max((int(row["depths"][node]) for node in nodes), default=0)
        self.num_full += num_accepted == deepest > 0
        for depth, node in enumerate(path, start=1):
            self.could_pass[depth] += node in children
        for depth, (parent, node) in enumerate(pairwise(path), start=1):
            self.passed[depth] += 1
            if len(children[parent]) > 1:
                self.num_contested += 1
                self.num_branch_wins += children[parent][0] != node
        self._add_drafts([int(row["token_ids"][node]) for node in nodes], deepest)
        self._add_length(num_accepted, int(row["committed_len"]))

    def _add_drafts(self, tokens: list[int], deepest: int) -> None:
        """Count whether all drafts are one token."""
        if len(tokens) >= 3 and deepest >= 2:
            self.num_drafted += 1
            self.num_identical += len(set(tokens)) == 1

    def _add_length(self, num_accepted: int, committed_len: int) -> None:
        """Put one accepted length under its prefix length and its time."""
        one = Sample(1, num_accepted, num_accepted * num_accepted)
        self.by_length.setdefault(max(committed_len, 0).bit_length(), Sample()).add(one)
        if not self.by_time or self.by_time[-1].count >= self.block_steps:
            if len(self.by_time) == MAX_BLOCKS:
                self._halve_time()
            self.by_time.append(Sample())
        self.by_time[-1].add(one)

    def _halve_time(self) -> None:
        """Merge neighbouring blocks of the time series."""
        for early, late in zip(self.by_time[::2], self.by_time[1::2], strict=True):
            early.add(late)
        self.by_time = self.by_time[::2]
        self.block_steps *= 2


def _children(row: Row) -> dict[int, list[int]]:
    """Return the valid children of each node that has any, in node order."""
    children: dict[int, list[int]] = {}
    for node in range(1, len(row["parents"])):
        if row["valid"][node]:
            children.setdefault(int(row["parents"][node]), []).append(node)
    return children
