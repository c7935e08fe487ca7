"""Fused operators swapped for eager ones and back: which of them mend a run, and which break an eager one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from tracing.finding import Finding
from workbench.locate.variants import EVERYWHERE, Eager, Unit

Decode = Callable[[Eager, tuple[int, int, int] | None], Finding | None]
"""`(eager, last)`: the first error of the path with these units eager, up to a step, or to the end."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the matrix: one operator or one stage.

    Attributes:
        name: Of the operator, the stage, or `everything`.
        eager: First error with it alone eager; None where the run held.
        fused: First error with it alone fused, all else eager.
    """

    name: str
    eager: Finding | None
    fused: Finding | None


@dataclass(slots=True)
class Swapped:
    """What swapping told.

    Attributes:
        first: First error of the path as it is; None where it held.
        units: What could be swapped.
        last: Step up to which the runs of the matrix went.
        rows: The matrix.
        mending: Smallest sets which, eager, mend the run; empty where none does.
        breaking: Smallest sets which, fused in an eager run, break it.
        shared: First error that the run has with everything eager, or None.
        num_runs: Decodes that it took.
    """

    first: Finding | None
    units: tuple[Unit, ...] = ()
    last: tuple[int, int, int] | None = None
    rows: tuple[Row, ...] = ()
    mending: tuple[Eager, ...] = ()
    breaking: tuple[Eager, ...] = ()
    shared: Finding | None = None
    num_runs: int = 0

    @property
    def conclusion(self) -> str:
        """One sentence."""
        if self.first is None:
            return "the run held: nothing to mend"
        if not self.mending:
            what = "with every operator eager the run is wrong too"
            return f"{what}: the fault is in what fused and eager operators share"
        alone = [each for each in self.breaking if _operators(each) == 1]
        if (number := min(map(_operators, self.mending))) > 1:
            return (
                f"{number} operators are wrong: only together, eager, do they mend the run: {self.smallest}"
            )
        if not alone and self.breaking:
            return f"wrong only together: {self.named(self.breaking)}; either, eager, mends the run"
        return f"eager, it mends the run: {self.smallest}"

    @property
    def smallest(self) -> str:
        """The smallest sets that mend, in words."""
        return self.named(self.mending)

    def named(self, sets: Sequence[Eager]) -> str:
        """Return sets in words: an operator in the stages of the set, or alone where that is all of them."""
        return ", or ".join(self._named(each) for each in sets)

    def _named(self, units: Eager) -> str:
        every, parts = dict(_by_operator(self.units)), []
        for name, own in _by_operator(sorted(units)):
            stages = "" if own == every.get(name) else " and ".join(sorted(each.stage for each in own))
            parts.append(f"{name} in {stages}" if stages else name)
        return " with ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "first": None if self.first is None else self.first.as_json(),
            "last": self.last,
            "rows": [
                {
                    "name": row.name,
                    "eager": None if row.eager is None else row.eager.as_json(),
                    "fused": None if row.fused is None else row.fused.as_json(),
                }
                for row in self.rows
            ],
            "mending": [sorted(map(str, each)) for each in self.mending],
            "breaking": [sorted(map(str, each)) for each in self.breaking],
            "shared": None if self.shared is None else self.shared.as_json(),
            "conclusion": self.conclusion,
            "num_runs": self.num_runs,
        }


def swapped(units: Sequence[Unit], decode: Decode) -> Swapped:
    """Fill the matrix and find the smallest sets.

    A set mends a run if the whole run holds with it. Most runs go only to the step of the first error; where
    a set mends that and the run has another error later, all is done again up to there.
    """
    runs = _Runs(tuple(units), decode)
    first = runs.verdict(frozenset())
    if first is None:
        return Swapped(None, num_runs=runs.number)
    found = Swapped(first, runs.units)
    at: Finding | None = first
    while at is not None:
        runs.last = at.moment.place
        shared = runs.verdict(runs.everything)
        if shared is not None and found.mending:
            found.shared = shared  # what was mended before it stands
            break
        found.last, found.shared, found.rows = runs.last, shared, tuple(runs.matrix())
        found.mending = () if shared is not None else runs.smallest(runs.mends)
        found.breaking = () if shared is not None else runs.smallest(runs.breaks)
        at = runs.to_the_end(found.mending[0]) if found.mending else None
    found.num_runs = runs.number
    return found


@dataclass(slots=True)
class _Runs:
    """Runs of variants, each made once.

    Attributes:
        last: Step up to which they go; None is the whole run.
        number: How many there were.
    """

    units: tuple[Unit, ...]
    decode: Decode
    last: tuple[int, int, int] | None = None
    number: int = 0
    _known: dict[tuple[Eager, tuple[int, int, int] | None], Finding | None] = field(default_factory=dict)

    @property
    def everything(self) -> Eager:
        return frozenset(self.units)

    def verdict(self, eager: Eager) -> Finding | None:
        """Return the first error up to `last`."""
        return self._run(eager, self.last)

    def to_the_end(self, eager: Eager) -> Finding | None:
        """Return the first error of the whole run."""
        return self._run(eager, None)

    def _run(self, eager: Eager, last: tuple[int, int, int] | None) -> Finding | None:
        for (known, until), finding in self._known.items():
            if known != eager:
                continue
            if until == last or (finding is not None and (last is None or finding.moment.place <= last)):
                return finding
            if finding is None and until is None:
                return None
        self.number += 1
        finding = self._known[eager, last] = self.decode(eager, last)
        return finding

    def mends(self, eager: Eager) -> bool:
        return self.verdict(eager) is None

    def breaks(self, fused: Eager) -> bool:
        return self.verdict(self.everything - fused) is not None

    def matrix(self) -> Iterator[Row]:
        """Yield everything, each operator and each stage."""
        whole = self.everything
        yield Row("everything", self.verdict(whole), self.verdict(frozenset()))
        groups = (*_by_operator(self.units), *(each for each in self._by_stage() if each[0] != EVERYWHERE))
        for name, own in groups:
            if own != whole:
                yield Row(name, self.verdict(own), self.verdict(whole - own))

    def _by_stage(self) -> tuple[tuple[str, Eager], ...]:
        return _grouped((each.stage, each) for each in self.units)

    def smallest(self, holds: Callable[[Eager], bool]) -> tuple[Eager, ...]:
        """Return the smallest sets of units for which something holds that holds for all of them.

        Operators are tried first, then the stages of those.
        """
        operators = dict(_by_operator(self.units))
        found: list[Eager] = []
        for each in _smallest(tuple(operators), lambda names: holds(_union(operators, names))):
            units = tuple(sorted(_union(operators, each)))
            for made in map(frozenset, _smallest(units, lambda some: holds(frozenset(some)))):
                if made not in found:
                    found.append(made)
        fewest = min(map(len, found), default=0)
        return tuple(each for each in found if len(each) == fewest)


def _smallest(items: Sequence[Any], holds: Callable[[tuple[Any, ...]], bool]) -> list[tuple[Any, ...]]:
    """Return the smallest sets that hold, where all items together do.

    What cannot be left out is in each of them, and mostly it is enough.
    """
    needed = tuple(each for each in items if not holds(tuple(other for other in items if other != each)))
    others = [each for each in items if each not in needed]
    for size in range(0 if needed else 1, len(others) + 1):
        found = [(*needed, *more) for more in combinations(others, size) if holds((*needed, *more))]
        if found:
            return found
    return []


def _union(groups: dict[str, Eager], names: Iterable[str]) -> Eager:
    return frozenset[Unit]().union(*(groups[name] for name in names))


def _grouped(pairs: Iterable[tuple[str, Unit]]) -> tuple[tuple[str, Eager], ...]:
    groups: dict[str, set[Unit]] = {}
    for name, unit in pairs:
        groups.setdefault(name, set()).add(unit)
    return tuple((name, frozenset(own)) for name, own in groups.items())


def _by_operator(units: Iterable[Unit]) -> tuple[tuple[str, Eager], ...]:
    return _grouped((each.operator, each) for each in units)


def _operators(units: Eager) -> int:
    return len({each.operator for each in units})
