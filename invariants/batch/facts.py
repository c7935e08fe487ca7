"""The facts that statistics are made of, for all steps of a batch at once."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.batch.group import Group, groups
from invariants.batch.steps import Batch
from invariants.facts import PLACES, Facts, promises
from invariants.rule import BoolArray, IntArray

NEEDED: Final = ("accepted_nodes", "parents", "depths", "valid", "token_ids", "committed_len")
"""Columns without which a step has no facts."""


def batch_facts(batch: Batch, left_out: BoolArray) -> tuple[Facts, BoolArray]:
    """Return facts of all steps, and which steps have any; sound steps only, the others are left out.

    Args:
        batch: The steps.
        left_out: Steps that the loop looks at, `[S]`.
    """
    known = np.zeros(batch.num_steps, dtype=np.bool_)
    facts = Facts.zeros(batch.num_steps)
    for group in groups(batch, left_out):
        if group.has(*NEEDED):
            group.put(known, True)
            found = _group_facts(group)
            for each in fields(found):
                group.put(getattr(facts, each.name), getattr(found, each.name))
    return facts, known


def _group_facts(group: Group) -> Facts:
    """Return the facts of the steps of a group, whose trees and paths are sound."""
    parents, tokens, accepted = group["parents"], group["token_ids"], group["accepted_nodes"]
    live = group["drafts"]
    num_drafts = np.count_nonzero(live, axis=1)
    deepest = np.where(live, group["depths"], 0).max(axis=1)
    drafted = (num_drafts >= 3) & (deepest >= 2)
    token = tokens[np.arange(group.size), live.argmax(axis=1)]
    last = accepted.last(0)
    promised = _promises(group, accepted, live)
    contested, wins = _contests(group, accepted, live)
    return Facts(
        cut=np.full(group.size, group.has("stop_reason")),
        num_accepted=accepted.lengths,
        deepest=deepest.astype(np.int64),
        committed_len=group["committed_len"],
        could_go_on=(live & (parents == last[:, None])).any(axis=1),
        num_contested=np.bincount(accepted.owner, weights=contested, minlength=group.size).astype(np.int64),
        num_branch_wins=np.bincount(accepted.owner, weights=wins, minlength=group.size).astype(np.int64),
        drafted=drafted,
        identical=drafted & (~live | (tokens == token[:, None])).all(axis=1),
        **{name: _place(group, name) for name in PLACES},
        **dict(zip(("num_promises", "promised", "num_kept"), promised, strict=True)),
    )


def _place(group: Group, name: str) -> IntArray:
    found = group.get(name)
    return np.full(group.size, -1, dtype=np.int64) if found is None else np.asarray(found, dtype=np.int64)


def _promises(group: Group, accepted: Ragged, live: BoolArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return the promises of each step; none where scores are not recorded."""
    scores = group.get("draft_logprobs")
    if scores is None:
        return (np.zeros(group.size, np.int64),) * 3
    lengths = accepted.lengths + 1
    owner = np.repeat(np.arange(group.size), lengths)
    nodes = np.zeros(len(owner), dtype=np.int64)
    is_root = np.zeros(len(owner), dtype=np.bool_)
    is_root[np.cumsum(lengths) - lengths] = True
    nodes[~is_root] = accepted.values
    return promises(scores, group["parents"], live, nodes, owner)


def _contests(group: Group, accepted: Ragged, live: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Return for each accepted node whether it has siblings, and whether it is not the first of them."""
    step, node = accepted.owner, accepted.values.astype(np.int64)
    parent = group["parents"][step, node]
    family = live[step] & (group["parents"][step] == parent[:, None])
    contested = np.count_nonzero(family, axis=1) > 1
    return contested, contested & (family.argmax(axis=1) != node)
