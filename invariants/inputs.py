"""Finds what a rule's arguments name: columns of the step, of earlier steps, facts of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from invariants.context import RunContext
from invariants.laws import acceptance_of
from invariants.thresholds import Thresholds
from invariants.writes import Writes
from tracing.columns import NULL_ENTRIES
from tracing.proposers import why_undrafted

Row = Mapping[str, Any]
"""One step: column name to value; lists as arrays, `visible` as `[N, N]`, absent or null as None."""

CONTEXT_NAMES: Final = frozenset(each.name for each in fields(RunContext))
RECORDED: Final = "recorded"
"""Argument whose value is the names of the columns that a step has a value for."""
EARLIER: Final = {"previous_": "previous step", "first_": "turn's first step"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that rules may ask for at one step.

    Attributes:
        row: The step.
        previous: The step before it in the same turn, or None.
        first: The first step of the turn, or None when it was not seen.
        context: Facts of the run.
        thresholds: When statistics raise an alarm.
        statistics: `RunStatistics`, for run rules only.
        written_between: What other requests wrote since the step before; None where none took a step.
    """

    row: Row
    previous: Row | None = None
    first: Row | None = None
    context: RunContext = field(default_factory=RunContext)
    thresholds: Thresholds = field(default_factory=Thresholds)
    statistics: Any = None
    written_between: tuple[Writes, ...] | None = None

    def get(self, name: str) -> Any:
        """Return the value of an argument by its name, or None."""
        if name == "acceptance":
            of_row = self.row.get("request_id"), self.row.get("row_temperature")
            return acceptance_of(self.context.acceptance, self.context.request_sampling, *of_row)
        if name in CONTEXT_NAMES:
            return getattr(self.context, name)
        if name in ("thresholds", "statistics", "written_between"):
            return getattr(self, name)
        for prefix, earlier in (("previous_", self.previous), ("first_", self.first)):
            if name.startswith(prefix):
                return None if earlier is None else _value(earlier, name.removeprefix(prefix))
        return _value(self.row, name)

    def why_missing(self, name: str) -> str:
        """Return one clause that says why `get` has nothing."""
        if name in CONTEXT_NAMES:
            return f"{name} of the run is not known"
        if name == "written_between":
            return "no other request is known to have taken one step since"
        for prefix, earlier in (("previous_", self.previous), ("first_", self.first)):
            if name.startswith(prefix):
                where = EARLIER[prefix]
                if earlier is None:
                    return f"the {where} was not seen"
                return f"column {name.removeprefix(prefix)} of the {where} was not recorded"
        if self.row.get(name) is not None:
            return f"column {name} has entries that could not be recorded"
        return why_undrafted(self.row.get("proposer"), name) or f"column {name} was not recorded"


def _value(row: Row, name: str) -> Any:
    if name == RECORDED:
        return frozenset(column for column, value in row.items() if value is not None)
    return _plain(name, row.get(name))


def _plain(name: str, value: Any) -> Any:
    """Return Python scalars, so that sums cannot overflow; an array that lost entries is not recorded."""
    if isinstance(value, np.generic):
        return value.item()
    if np.ma.isMaskedArray(value) and name not in NULL_ENTRIES:
        return None if np.ma.getmaskarray(value).any() else np.ma.getdata(value)
    return value
