"""A case is a step with what came before it; a mutation is one named way to break a rule in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from invariants.ancestry import path_to_root
from invariants.context import RunContext
from invariants.examples import Before, StepRow, after_acceptance
from invariants.inputs import Row
from tracing.columns import PER_NODE, PER_NODE_ROWS

OF_PLACE: Final = ("cache_positions", "slots")
MOVED: Final = tuple(name for name in (*PER_NODE, *PER_NODE_ROWS) if name not in (*OF_PLACE, "visible"))
"""Columns that move with a node; `cache_positions` and `slots` belong to the place."""

Pick = Callable[[Sequence[Any]], Any]
"""Chooses one of the places where a mutation can be made."""


class NoPlaceError(Exception):
    """The case has no place for this mutation, e.g. no padding to make live."""


@dataclass(frozen=True, slots=True)
class Case:
    """A step, and everything else that rules may read.

    Attributes:
        row: The step.
        context: Facts of the run.
        previous: The step before it in the same turn, or None.
        first: The first step of the turn.
        between: Steps of other requests since the step before.
    """

    row: StepRow
    context: RunContext
    previous: Row | None = None
    first: Row | None = None
    between: tuple[Row, ...] = ()

    def edited(self, **columns: Any) -> Case:
        """Return the case with other values in some columns of the step."""
        return replace(self, row={**self.row, **columns})

    def poked(self, column: str, place: Any, value: Any) -> Case:
        """Return the case with one entry of an array column replaced."""
        array = self.row[column].copy()
        array[place] = value
        return self.edited(**{column: array})

    def moved(self, column: str, place: Any, by: int) -> Case:
        """Return the case with a number added at places of an array column."""
        return self.poked(column, place, self.row[column][place] + self.row[column].dtype.type(by))

    def chose(self, node: int, token: int) -> Case:
        """Return the case with another choice of the teacher after a node."""
        return self.poked("target_token_ids", node, token).poked("target_top_ids", (node, 0), token)

    def in_run(self, **facts: Any) -> Case:
        """Return the case in a run with other facts."""
        return replace(self, context=replace(self.context, **facts))

    def after(self, **columns: Any) -> Case:
        """Return the case after a step with other values."""
        return replace(self, previous={**self.earlier, **columns})

    def after_others(self, *rows: Row) -> Case:
        """Return the case with steps of other requests since the step before."""
        return replace(self, between=rows)

    def where(self, holds: object, otherwise: str) -> Case:
        """Return the case itself.

        Raises:
            NoPlaceError: The condition does not hold.
        """
        if not holds:
            raise NoPlaceError(otherwise)
        return self

    @property
    def later(self) -> Case:
        """The case itself.

        Raises:
            NoPlaceError: There is no step before it.
        """
        return self.where(self.previous is not None, "no previous step")

    @property
    def uncut(self) -> Case:
        """The case itself.

        Raises:
            NoPlaceError: The step was cut at the end of its turn.
        """
        return self.where(self.row["stop_reason"] is None, "a cut step")

    @property
    def earlier(self) -> Row:
        """The step before.

        Raises:
            NoPlaceError: There is none.
        """
        if self.previous is None:
            raise NoPlaceError("no previous step")
        return self.previous

    def reaccepted(self) -> Case:
        """Return the case with acceptance and commit done again from what the step now holds."""
        return self.edited(**after_acceptance(self.row, self.before, self.context))

    @property
    def before(self) -> Before:
        """What the step begins with."""
        prompt_len = (self.first or self.row)["committed_len"]
        same = {name: self.row[name] for name in ("prompt_id", "turn", "step", "committed_len")}
        return Before(**same, prompt_len=prompt_len, kv_digest=self.row["kv_digest_before"])

    @property
    def drafts(self) -> list[int]:
        """Valid nodes but the root."""
        return [int(node) for node in self.row["valid"].nonzero()[0] if node > 0]

    @property
    def pads(self) -> list[int]:
        """Padding nodes."""
        return [int(node) for node in (~self.row["valid"]).nonzero()[0]]

    @property
    def nodes(self) -> list[int]:
        """Valid nodes."""
        return [0, *self.drafts]

    @property
    def others(self) -> list[int]:
        """All nodes but the root."""
        return [*self.drafts, *self.pads]

    @property
    def accepted(self) -> list[int]:
        """Accepted draft nodes."""
        accepted: list[int] = self.row["accepted_nodes"].tolist()
        return accepted

    @property
    def bystanders(self) -> list[int]:
        """Draft nodes that were not accepted."""
        return [node for node in self.drafts if node not in self.accepted]

    @property
    def leaves(self) -> list[int]:
        """Draft nodes without children that were not accepted."""
        parents = {int(self.row["parents"][node]) for node in self.drafts}
        return [node for node in self.bystanders if node not in parents]

    def other_token(self, token: int) -> int:
        """Return an ordinary token that neither a node nor a row's best tokens hold, other than `token`."""
        taken = {int(token), *self.row["target_top_ids"].ravel().tolist(), *self.row["token_ids"].tolist()}
        taken |= set(self.context.eos_token_ids or ())
        return next(each for each in range(96, 0, -1) if each not in taken)

    def path(self, node: int) -> list[int]:
        """Return the node, its parent, up to the root."""
        return path_to_root(node, self.row["parents"]) or []


@dataclass(frozen=True, slots=True)
class Mutation:
    """One named way to break a rule in a legal step.

    Attributes:
        name: What is wrong afterwards, in kebab-case.
        breaks: The rule that must report it, and alone.
        change: `(case, pick)`; raises `NoPlaceError` where the step has no place for it.
    """

    name: str
    breaks: str
    change: Callable[[Case, Pick], Case] = field(repr=False)

    def apply(self, case: Case, pick: Pick | None = None) -> Case:
        """Return the changed case; the given one is left as it is.

        Args:
            case: A legal step.
            pick: Chooses among the places where it can be made; the first one when None.

        Raises:
            NoPlaceError: The step has no place for it.
        """

        def checked(places: Sequence[Any]) -> Any:
            if not places:
                raise NoPlaceError(f"no place for {self.name}")
            return pick(places) if pick else places[0]

        return self.change(case, checked)


Changes = dict[str, Callable[[Case, Pick], Case]]
"""The mutations of a module by rule and name, e.g. `TREE001 parent-minus-one`; see `Mutation`."""


def permuted(case: Case, order: Iterable[int]) -> Case:
    """Return the case with its nodes in another order, consistently: the same tree, numbered otherwise.

    Args:
        case: A legal step.
        order: Old node number at each new place, `[N]`; begins with 0.
    """
    old_from_new = np.array(list(order))
    new_from_old = np.argsort(old_from_new)
    row = case.row
    columns = {name: row[name][old_from_new] for name in MOVED if row.get(name) is not None}
    columns["parents"] = new_from_old[columns["parents"]].astype(np.int32)
    columns["visible"] = row["visible"][np.ix_(old_from_new, old_from_new)]
    accepted = new_from_old[row["accepted_nodes"]].astype(np.int32)
    path = np.array([0, *accepted], dtype=np.int32) + np.int32(row["committed_len"])
    return case.edited(**columns, accepted_nodes=accepted, path_indices=path)
