"""The prefilter over batches: every step that breaks a step or turn rule is flagged, legal ones rarely."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from invariants.batch.group import Group, groups
from invariants.batch.steps import Batch
from invariants.catalogue import CLAUSES
from invariants.prefilter import Clause, by_step
from invariants.rule import BoolArray

BY_REACH: Final = {back: tuple(each for each in CLAUSES if each.looks_back == back) for back in (False, True)}
"""Clauses by whether they look back: the others need not tell first steps of a turn apart from later ones."""


def suspicious_steps(batch: Batch) -> BoolArray:
    """Return which steps the loop must look at, `[S]`; no step that breaks a rule is left out.

    The first step is always flagged, unless it begins a turn: what came before it is not in the batch.
    """
    suspicious = batch.misshapen()
    suspicious[1:] |= suspicious[:-1].copy()  # what comes after a misshapen step looks back at it
    suspicious |= _past_elsewhere(batch)
    left_out = suspicious.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for looks_back, clauses in BY_REACH.items():
            found = np.zeros_like(suspicious)
            for group in groups(batch, left_out, alone=not looks_back):
                group.put(found, flagged(group, clauses))
            suspicious |= found
    return suspicious


def _past_elsewhere(batch: Batch) -> BoolArray:
    """Return the steps of a turn that resumes after another one, and a first step that resumes one, `[S]`."""
    inside = (batch.opening > 0) | (np.arange(batch.num_steps) == 0)
    found: BoolArray = inside & ~batch.begins_turn[batch.opening]
    return found


def flagged(group: Group, clauses: Iterable[Clause]) -> BoolArray:
    """Return which steps of a group any of the clauses flags, `[G]`."""
    if not group.has("parents"):
        return np.ones(group.size, dtype=np.bool_)  # no number of nodes to go by: the loop decides
    bad = np.zeros(group.size, dtype=np.bool_)
    for clause in clauses:
        arguments = group.arguments(clause)
        if arguments is not None:
            found = clause.check(**arguments)
            if found.any() if isinstance(found, np.ndarray) else found:
                bad |= by_step(found)  # seldom, and a look at all is cheaper than one at each step
    return bad
