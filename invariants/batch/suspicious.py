"""The prefilter over batches: every step that breaks a step or turn rule is flagged, legal ones rarely."""

from __future__ import annotations

import numpy as np

from invariants.batch.group import Group, groups
from invariants.batch.steps import Batch
from invariants.catalogue import CLAUSES
from invariants.prefilter import by_step
from invariants.rule import BoolArray


def suspicious_steps(batch: Batch) -> BoolArray:
    """Return which steps the loop must look at, `[S]`; no step that breaks a rule is left out.

    The first step is always flagged, unless it begins a turn: what came before it is not in the batch.
    """
    suspicious = batch.misshapen()
    suspicious[1:] |= suspicious[:-1].copy()  # what comes after a misshapen step looks back at it
    suspicious |= _past_elsewhere(batch)
    left_out = suspicious.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for group in groups(batch, left_out):
            group.put(suspicious, flagged(group))
    return suspicious


def _past_elsewhere(batch: Batch) -> BoolArray:
    """Return the steps of a turn that resumes after another one, and a first step that resumes one, `[S]`."""
    inside = (batch.opening > 0) | (np.arange(batch.num_steps) == 0)
    found: BoolArray = inside & ~batch.begins_turn[batch.opening]
    return found


def flagged(group: Group) -> BoolArray:
    """Return which steps of a group any clause flags, `[G]`."""
    if not group.has("parents"):
        return np.ones(group.size, dtype=np.bool_)  # no number of nodes to go by: the loop decides
    bad = np.zeros(group.size, dtype=np.bool_)
    for clause in CLAUSES:
        arguments = group.arguments(clause)
        if arguments is not None:
            found = clause.check(**arguments)
            if found.any() if isinstance(found, np.ndarray) else found:
                bad |= by_step(found)  # seldom, and a look at all is cheaper than one at each step
    return bad
