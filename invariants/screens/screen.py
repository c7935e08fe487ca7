"""The screen over batches: every step that breaks a step or turn rule is flagged, legal ones rarely."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.context import RunContext
from invariants.rule import BoolArray
from invariants.screens import accept, seen, tree
from invariants.screens.batch import Batch, Flat, Group

SCREENS: Final[tuple[Callable[[Group, RunContext], BoolArray], ...]] = (
    tree.topology,
    tree.siblings,
    tree.padding,
    tree.positions,
    tree.tokens,
    tree.visibility,
    seen.logits,
    seen.row_digests,
    seen.slots,
    seen.drafts,
    accept.path,
    accept.end_of_path,
    accept.emitted,
    accept.commit,
    accept.digests,
    accept.sites,
    accept.between_steps,
)


def screen_batch(
    columns: Mapping[str, Flat | tuple[NDArray[Any], NDArray[Any] | None]],
    context: RunContext | None = None,
    *,
    first_committed_len: int | None = None,
) -> BoolArray:
    """Return which steps the loop must look at, `[S]`; no step that breaks a rule is left out.

    The first step is always flagged, unless it begins a turn: what came before it is not in the batch.

    Args:
        columns: Arrow's values and offsets by column name (offsets None for scalars), or `Flat` with nulls.
            A struct column comes as one column per field, e.g. `index_sites.min`.
        context: Facts of the run.
        first_committed_len: Committed length at the first step of the turn that the batch begins in, when
            that step lies before the batch.

    Raises:
        UsageError: Columns have different numbers of steps.
    """
    flat = {name: each if isinstance(each, Flat) else Flat(*each) for name, each in columns.items()}
    return suspicious_steps(Batch(flat), context or RunContext(), first_committed_len=first_committed_len)


def suspicious_steps(
    batch: Batch, context: RunContext, *, first_committed_len: int | None = None
) -> BoolArray:
    """Return what `screen_batch` returns, for a batch that is made already."""
    suspicious = batch.misshapen()
    suspicious[1:] |= suspicious[:-1].copy()  # what comes after a misshapen step looks back at it
    suspicious[:1] |= ~batch.begins_turn[:1]
    suspicious |= _resumed(batch)
    suspicious |= _limit(batch, context, first_committed_len)
    left_out = suspicious.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for group in batch.groups(left_out):
            suspicious[group.rows] = flagged(group, context)
    return suspicious


def _resumed(batch: Batch) -> BoolArray:
    """Return the steps of a turn that goes on after another one, `[S]`: what came before lies elsewhere."""
    numbers = np.arange(batch.num_steps)
    opening = np.maximum.accumulate(np.where(batch.has_previous, 0, numbers))
    resumed: BoolArray = (opening > 0) & ~batch.begins_turn[opening]
    return resumed


def flagged(group: Group, context: RunContext) -> BoolArray:
    """Return which steps of a group any screen flags, `[G]`."""
    if not group.has("parents"):
        return np.ones(group.size, dtype=np.bool_)  # no number of nodes to go by: the loop decides
    bad = np.zeros(group.size, dtype=np.bool_)
    for screen in SCREENS:
        bad |= screen(group, context)
    return bad


def _limit(batch: Batch, context: RunContext, first_committed_len: int | None) -> BoolArray:
    """ACC008: tokens emitted since the turn's first step, `[S]`."""
    bad = np.zeros(batch.num_steps, dtype=np.bool_)
    lengths, out = batch.scalar("committed_len"), batch.columns.get("emitted_token_ids")
    if context.max_new_tokens is None or lengths is None or out is None:
        return bad
    opening = np.maximum.accumulate(np.where(batch.has_previous, 0, np.arange(batch.num_steps)))
    first = lengths[opening].astype(np.int64)
    known = batch.begins_turn[opening]
    if first_committed_len is not None and not batch.begins_turn[0]:
        first[opening == 0], known[opening == 0] = first_committed_len, True
    total = lengths - first + 1 + out.lengths
    over: BoolArray = known & (total > context.max_new_tokens)
    return over
