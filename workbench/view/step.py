"""One step as the panels see it: one or two sides, the texts of its tokens, and what was found in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracing.distances import DEFAULT_EDGES
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.proposers import why_undrafted
from workbench.judge.cache_history import CacheHistory
from workbench.view.chain_file import Link
from workbench.view.condition import NOT_JUDGED, NoFindings
from workbench.view.launch_shown import LaunchShown
from workbench.view.safe_text import safe_text
from workbench.view.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Side:
    """One recorded path at one step.

    Attributes:
        label: What the side is called, e.g. `fused`.
        row: Columns of the step as `PathReader.step` gives them; empty where there is no row.
        absent: Why there is no row; empty where there is one.
        lacks: Columns that this path can never have.
        running: Stage that an unfinished step was in; empty for a finished one.
        fed: Columns of stages that the path does not have, as the reference gave them to its other stages.
    """

    label: str
    row: Mapping[str, Any] = field(default_factory=dict)
    absent: str = ""
    lacks: frozenset[str] = frozenset()
    running: str = ""
    fed: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Return a column as recorded, or as the path was fed it; None where it is neither."""
        value = self.row.get(name)
        return self.fed.get(name) if value is None else value

    def values(self, name: str) -> list[Any] | None:
        """Return a column of one axis as a list, None for elements that are null; None where not recorded."""
        value = self.get(name)
        return value.tolist() if isinstance(value, np.ndarray) else None

    def grid(self, name: str) -> NDArray[Any] | None:
        """Return a column of two axes, None where not recorded or not two-dimensional."""
        value = self.get(name)
        return value if isinstance(value, np.ndarray) and value.ndim == 2 else None

    def at(self, name: str, number: int | None) -> Any:
        """Return an element of a column, None where it is null or there is none."""
        value = self.get(name)
        if number is None or not isinstance(value, np.ndarray) or not 0 <= number < len(value):
            return None
        return value[number].tolist()

    @property
    def pads(self) -> frozenset[int]:
        """Numbers of the padding rows."""
        return frozenset(node for node, valid in enumerate(self.values("valid") or []) if valid is False)

    @property
    def parents(self) -> list[int]:
        """Parents of the nodes, -1 for null; empty where not recorded."""
        return [-1 if parent is None else int(parent) for parent in self.values("parents") or []]

    @property
    def visible(self) -> NDArray[np.bool_] | None:
        """Who attends to whom, `[N, N]`, False for null; None where not recorded."""
        grid = self.grid("visible")
        return None if grid is None else np.ma.filled(grid, False).astype(np.bool_)

    @property
    def num_nodes(self) -> int:
        """N, from any column that has it; 0 where none is recorded."""
        for name in ("parents", "token_ids", "valid", "depths", "target_token_ids", "visible"):
            value = self.get(name)
            if isinstance(value, np.ndarray):
                return len(value)
        return 0

    @property
    def committed_len(self) -> int | None:
        """L, None where not recorded."""
        value = self.get("committed_len")
        return int(value) if value is not None else None

    def why_not(self, *names: str) -> str:
        """Return one sentence on columns that are not there."""
        what = " and ".join(names)
        if self.absent:
            return f"{self.label}: {self.absent}"
        if any(name in self.lacks for name in names):
            return f"{self.label} never has {what}, by its manifest"
        for reason in ("launch_refused", "incomplete"):
            if self.row.get(reason):
                return f"{self.label}: no {what} in this step ({safe_text(str(self.row[reason]))})"
        if self.running:
            return f"{self.label}: no {what} yet; {self.running} was running when the trace ends"
        undrafted = why_undrafted(self.row.get("proposer"), *names)
        verb = "was" if len(names) == 1 else "were"
        return f"{self.label}: {undrafted or f'{what} {verb} not recorded in this step'}"


def no_launch() -> LaunchShown | None:
    """Return the launch of a step of which none is known."""
    return None


@dataclass(frozen=True, slots=True)
class StepView:
    """Everything that the panels of one step draw from.

    Attributes:
        left: The side that is shown first.
        right: The side to compare it with, None for one side only.
        findings: Findings of this step, each with its number in the run.
        edges: Lower edges of the distance buckets.
        previous: Columns of the left side's step before in the same turn, None where there is none.
        manifest: Manifest of the run; empty where it is damaged.
        all_findings: Findings of the whole run.
        owners: Label of the side that each of those is about; empty for both.
        judged: What it means where the run holds no findings.
        history: Who wrote the rows of the left side's committed cache, up to this step of its turn.
        located: The way from a symptom to its writer, where `specwb locate` found one in this run.
        batch: Reads the launch that the left side's step belongs to, None where none is recorded.
    """

    moment: Moment
    left: Side
    right: Side | None = None
    tokens: Tokens = field(default_factory=Tokens)
    findings: tuple[tuple[int, Finding], ...] = ()
    edges: tuple[int, ...] = DEFAULT_EDGES
    previous: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    all_findings: Sequence[Finding] = ()
    owners: Sequence[str] = ()
    judged: NoFindings = NOT_JUDGED
    history: Callable[[], CacheHistory] = field(default=CacheHistory, compare=False)
    located: tuple[Link, ...] = ()
    batch: Callable[[], LaunchShown | None] = field(default=no_launch, compare=False)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that are there."""
        return (self.left,) if self.right is None else (self.left, self.right)

    def swapped(self) -> StepView:
        """Return the same with the sides exchanged."""
        return (
            self
            if self.right is None
            else replace(self, left=self.right, right=self.left, previous=None, batch=no_launch)
        )

    def only_left(self) -> StepView:
        """Return the left side alone."""
        return replace(self, right=None)

    def owner(self, number: int) -> str:
        """Return the label of the side that a finding is about; empty for both."""
        return self.owners[number] if number < len(self.owners) else ""

    def ancestors(self, node: int | None) -> frozenset[int]:
        """Return the ancestors of a node by the left side's parents; broken parents end the walk."""
        parents, found = self.left.parents, set[int]()
        while node is not None and 0 < node < len(parents) and parents[node] not in found:
            node = parents[node]
            found.add(node)
        return frozenset(found)

    def own_findings(self) -> tuple[Finding, ...]:
        """Return the step's findings that are about the left side, or about both."""
        return tuple(
            finding for number, finding in self.findings if self.owner(number) in {"", self.left.label}
        )

    def finding_nodes(self) -> frozenset[int]:
        """Return the nodes that a finding about the left side names."""
        return frozenset(
            finding.moment.node for finding in self.own_findings() if finding.moment.node is not None
        )


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """How panels are drawn.

    Attributes:
        differences_only: Leave out what is the same on both sides and as it should be.
        width: Cells that a line may take before it scrolls.
    """

    differences_only: bool = False
    width: int = 78


def differ(left: Any, right: Any) -> bool:
    """Return whether two recorded values differ; a value that is not recorded counts as equal.

    Floats differ when they would be read as different numbers (a thousandth); whether the difference is an
    error is for the judge to decide.
    """
    if left is None or right is None:
        return False
    if isinstance(left, float) or isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) != math.isnan(right)
        return bool(abs(left - right) > 1e-3 * max(1.0, abs(left), abs(right)))
    return bool(left != right)


@dataclass(frozen=True, slots=True)
class Look:
    """How the user looks at a step: the second side first, the first side alone, options of the panels."""

    swapped: bool = False
    one_side: bool = False
    options: ViewOptions = field(default_factory=ViewOptions)

    def applied(self, step: StepView) -> StepView:
        """Return the step as it is looked at."""
        step = step.swapped() if self.swapped else step
        return step.only_left() if self.one_side else step


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that the lines of a panel depend on: equal sights give equal lines.

    Attributes:
        version: Counts what else was read of the run: more rows, findings, distances.
    """

    row: int
    look: Look
    version: int
