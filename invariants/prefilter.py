"""Prefilter clauses: a rule's law over many steps at once, in the module of the rule.

A clause says which of G steps of one form may break its rules; it never misses one that does. The loop over
rules is the law, and alone writes findings. An applicability clause says which steps are alike to a rule that
may have nothing to look at.

Argument names are those of rules and name the columns of all G steps: `[G]` for a scalar, `[G, N, ...]`
for a column with a row per node, `Ragged` for any other list. There are also `drafts` (`[G, N]`, valid nodes
but the root), `parents_in_tree` (`[G, N]`, parents forced into range) and `above` (`[G, N]`, their places
among the nodes of all steps). A clause is left out where an argument is missing.

Hardly any step is flagged, and a look at all of them is cheaper than one at each: clauses return flags of
nodes as they are, or go into detail only where one is set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.batch.flat import Ragged
from invariants.rule import BoolArray, IntArray, argument_names

Flags = BoolArray | Any
"""True for steps that the loop must look at, `[G]`, or for their nodes, `[G, N]`, or one truth for all steps.

Comparisons of numpy are typed `Any`."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause of the prefilter.

    Attributes:
        rules: Ids of the rules whose steps it flags.
        inputs: Argument names that must be there.
        optional: Argument names that may be None.
        check: Returns `Flags`.
    """

    rules: tuple[str, ...]
    inputs: tuple[str, ...]
    optional: tuple[str, ...]
    check: Callable[..., Any] = field(repr=False)

    @property
    def looks_back(self) -> bool:
        """Whether it reads the step before."""
        return any(name.startswith("previous_") for name in (*self.inputs, *self.optional))

    @property
    def name(self) -> str:
        """Rules and arguments, e.g. `KV003 prefix_kept`."""
        return f"{','.join(self.rules)} {','.join((*self.inputs, *self.optional))}"


@dataclass(frozen=True, slots=True)
class Applicability(Clause):
    """A clause whose `check` returns numbers or texts, `[G]`; where they are equal, the rules apply alike."""


def prefilter(*rules: str) -> Callable[[Callable[..., Any]], Clause]:
    """Turn a function into a clause of the prefilter for these rules."""
    return lambda check: Clause(rules, *argument_names(check), check)


def applicability(*rules: str) -> Callable[[Callable[..., Any]], Applicability]:
    """Turn a function into a clause that tells steps apart in which these rules apply or do not."""
    return lambda check: Applicability(rules, *argument_names(check), check)


def by_step(flags: Flags) -> Flags:
    """Return the flags of nodes, `[G, N]`, as those of their steps, `[G]`; those of steps as they are."""
    return flags.any(axis=1) if np.ndim(flags) > 1 else flags


def has_drafts(drafts: BoolArray) -> Flags:
    """Return whether a step has more nodes than the root, `[G]`: the counterpart of `rule.draft_nodes`."""
    return drafts.any(axis=1)


def has_pads(valid: BoolArray) -> Flags:
    """Return whether a step has padding, `[G]`."""
    return ~valid.all(axis=1)


def narrow(lengths: IntArray) -> IntArray:
    """Return numbers of tokens in half the bits, if with a number of nodes added they still fit there."""
    fit = lengths.size and lengths.min() >= 0 and lengths.max() < 2**30
    return lengths.astype(np.int32) if fit else lengths


def outside(values: NDArray[Any], start: Any, stop: Any) -> Any:
    """Return which values are not in `[start, stop)`, with the shape of `values`."""
    return (values < start) | (values >= stop)


def twice(keys: NDArray[Any]) -> BoolArray:
    """Return which rows of `[G, W]` hold a value twice."""
    ordered = np.sort(keys, axis=1)
    found: BoolArray = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    return found


def entries_at(table: NDArray[Any], step: IntArray, node: IntArray) -> NDArray[Any]:
    """Return entries of `[G, N]`, nodes forced into range; other clauses flag the steps that need it."""
    entries: NDArray[Any] = table[step, np.clip(node, 0, table.shape[1] - 1)]
    return entries


def accepted_at(accepted: Ragged, step: IntArray, place: IntArray, where: BoolArray) -> IntArray:
    """Return the accepted node at a place of each step's path where `where` holds, else 0."""
    node = np.zeros(len(step), dtype=np.int64)
    node[where] = accepted.values[(accepted.starts[step] + place)[where]]
    return node
