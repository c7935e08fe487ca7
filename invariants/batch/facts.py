"""The facts that statistics are made of, for all steps of a batch at once."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.batch.group import Group, groups
from invariants.batch.steps import Batch
from invariants.facts import PLACES, Facts, children, promises
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
    for group in groups(batch, left_out, alone=True):
        if group.has(*NEEDED):
            group.put(known, True)
            found = _group_facts(group)
            for each in fields(found):
                group.put(getattr(facts, each.name), getattr(found, each.name))
    return facts, known


def _group_facts(group: Group) -> Facts:
    """Return the facts of the steps of a group, whose trees and paths are sound."""
    tokens, accepted, live = group["token_ids"], group["accepted_nodes"], group["drafts"]
    num_drafts = np.count_nonzero(live, axis=1)
    deepest = np.where(live, group["depths"], 0).max(axis=1)
    drafted = (num_drafts >= 3) & (deepest >= 2)
    token = tokens[np.arange(group.size), live.argmax(axis=1)]
    paths = _Paths(group, accepted, live)
    contested, wins = paths.contests()
    return Facts(
        cut=np.full(group.size, group.has("stop_reason")),
        num_accepted=accepted.lengths,
        deepest=deepest.astype(np.int64),
        committed_len=group["committed_len"],
        could_go_on=paths.num_children[paths.last] > 0,
        num_contested=contested,
        num_branch_wins=wins,
        drafted=drafted,
        identical=drafted & ~(live & (tokens != token[:, None])).any(axis=1),
        **{name: _place(group, name) for name in PLACES},
        **dict(zip(("num_promises", "promised", "num_kept"), paths.promises(group), strict=True)),
    )


def _place(group: Group, name: str) -> IntArray:
    found = group.get(name)
    return np.full(group.size, -1, dtype=np.int64) if found is None else np.asarray(found, dtype=np.int64)


class _Paths:
    """The accepted paths of a group, root first, step after step, and the children of their nodes.

    Attributes:
        nodes: Their nodes, `[P]`.
        owner: The step of each, `[P]`.
        last: Places of the last nodes of the paths, `[G]`.
        num_children: Of each node, `[P]`.
    """

    def __init__(self, group: Group, accepted: Ragged, live: BoolArray) -> None:
        lengths = accepted.lengths + 1
        self._size = group.size
        self.owner = np.repeat(np.arange(group.size), lengths)
        self.last: IntArray = np.cumsum(lengths) - 1
        self._is_root = np.zeros(len(self.owner), dtype=np.bool_)
        self._is_root[self.last - accepted.lengths] = True
        self.nodes = np.zeros(len(self.owner), dtype=np.int64)
        self.nodes[~self._is_root] = accepted.values
        self._below = children(group["above"], live, self.nodes, self.owner)
        self.num_children: IntArray = np.bincount(self._below[0], minlength=len(self.nodes))

    def contests(self) -> tuple[IntArray, IntArray]:
        """Return how many accepted nodes have siblings, and how many are not the first of them, `[G]`."""
        of_path, child = self._below
        first = np.zeros_like(self.nodes)
        first[of_path[::-1]] = child[::-1]
        place = np.flatnonzero(~self._is_root)
        place = place[self.num_children[place - 1] > 1]
        wins = place[first[place - 1] != self.nodes[place]]
        contested, won = (np.bincount(self.owner[each], minlength=self._size) for each in (place, wins))
        return contested, won

    def promises(self, group: Group) -> tuple[IntArray, IntArray, IntArray]:
        """Return the promises of each step; none where scores are not recorded."""
        scores = group.get("draft_logprobs")
        if scores is None:
            return (np.zeros(group.size, np.int64),) * 3
        return promises(scores, self.nodes, self.owner, self._below)
