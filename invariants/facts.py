"""The few numbers of a step that statistics are made of; as arrays, so that batches add them at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from invariants.inputs import Row
from invariants.rule import BoolArray, FloatArray, IntArray

PLACES: Final = ("prompt_id", "turn", "step", "batch_row")
"""Columns that say where a step is, of the run and of its batch."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers of S steps.

    Attributes:
        cut: The step was cut at EOS or at the limit, `[S]`.
        num_accepted: A.
        deepest: Depth of the deepest valid node.
        committed_len: L.
        could_go_on: The last accepted node (or the root) has a child.
        num_contested: Accepted nodes that have siblings.
        num_branch_wins: Those that are not the first of their siblings.
        drafted: At least three draft nodes on at least two levels.
        identical: And all of them are the same token.
        prompt_id, turn, step: Where the step is; -1 where that is not recorded.
        batch_row: Row of the request in its batch; -1 where that is not recorded.
        num_promises: Nodes of the path, root included, whose children have a log-probability of their own.
        promised: Sum over them of what the drafter says that a child is accepted with, in millionths.
        num_kept: Those of them from which the path went on.
    """

    cut: BoolArray
    num_accepted: IntArray
    deepest: IntArray
    committed_len: IntArray
    could_go_on: BoolArray
    num_contested: IntArray
    num_branch_wins: IntArray
    drafted: BoolArray
    identical: BoolArray
    prompt_id: IntArray
    turn: IntArray
    step: IntArray
    batch_row: IntArray
    num_promises: IntArray
    promised: IntArray
    num_kept: IntArray

    def only(self, chosen: BoolArray) -> Facts:
        """Return those of some steps."""
        return Facts(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    @classmethod
    def zeros(cls, num_steps: int) -> Facts:
        """Return facts of steps that are to be filled in."""
        dtypes = {"BoolArray": np.bool_, "IntArray": np.int64}
        return cls(**{each.name: np.zeros(num_steps, dtypes[str(each.type)]) for each in fields(cls)})

    def put(self, places: IntArray | list[int], facts: Facts) -> None:
        """Fill in the facts of some steps."""
        for each in fields(self):
            getattr(self, each.name)[places] = getattr(facts, each.name)


def facts_of(row: Row) -> Facts:
    """Return the facts of one step whose tree and path are sound.

    Args:
        row: Needs accepted_nodes, parents, depths, valid, token_ids, committed_len.
    """
    below: dict[int, list[int]] = {}
    for node in range(1, len(row["parents"])):
        if row["valid"][node]:
            below.setdefault(int(row["parents"][node]), []).append(node)
    accepted = [int(node) for node in row["accepted_nodes"]]
    families = [below[int(row["parents"][node])] for node in accepted]
    nodes = [node for family in below.values() for node in family]
    tokens = {int(row["token_ids"][node]) for node in nodes}
    deepest = max((int(row["depths"][node]) for node in nodes), default=0)
    drafted = len(nodes) >= 3 and deepest >= 2
    promises = promise_of(row, [0, *accepted])
    contested = [(node, family) for node, family in zip(accepted, families, strict=True) if len(family) > 1]
    return Facts(
        cut=np.array([row.get("stop_reason") is not None]),
        num_accepted=np.array([len(accepted)]),
        deepest=np.array([deepest]),
        committed_len=np.array([int(row["committed_len"])]),
        could_go_on=np.array([(accepted[-1] if accepted else 0) in below]),
        num_contested=np.array([len(contested)]),
        num_branch_wins=np.array([sum(node != family[0] for node, family in contested)]),
        drafted=np.array([drafted]),
        identical=np.array([drafted and len(tokens) == 1]),
        **{name: np.array([_number(row.get(name))]) for name in PLACES},
        **dict(zip(("num_promises", "promised", "num_kept"), promises, strict=True)),
    )


def _number(value: Any) -> int:
    return -1 if value is None else int(value)


def promise_of(row: Row, path: list[int]) -> tuple[IntArray, IntArray, IntArray]:
    """Return the promises of one step, see `promises`; none where scores do not fit the nodes."""
    scores, parents = row.get("draft_logprobs"), np.asarray(row["parents"])
    if scores is None or np.shape(scores) != parents.shape:
        return (np.zeros(1, np.int64),) * 3
    live = np.asarray(row["valid"], dtype=np.bool_).copy()
    live[0] = False
    nodes = np.array(path, dtype=np.int64)
    owner = np.zeros(len(nodes), dtype=np.int64)
    above = np.clip(parents, 0, len(parents) - 1)[None]
    return promises(np.asarray(scores)[None], nodes, owner, children(above, live[None], nodes, owner))


def children(above: IntArray, live: BoolArray, nodes: IntArray, owner: IntArray) -> tuple[IntArray, IntArray]:
    """Return the children of the nodes of some paths, step after step: whose they are, and their numbers.

    Args:
        above: Place of each node's parent among the nodes of all steps, `[G, N]`.
        live: Valid nodes but the root, `[G, N]`.
        nodes: The paths' nodes, root first, step after step, no node twice, `[P]`.
        owner: The step of each, `[P]`.

    Returns:
        The place of the parent in `nodes`, and the child, `[children]` each.
    """
    place = np.full(above.size, -1, dtype=np.int32)
    place[owner * above.shape[1] + nodes] = np.arange(len(nodes))
    of_path = place.take(above.reshape(-1))
    found = np.flatnonzero((of_path >= 0) & live.reshape(-1))
    return of_path.take(found), found % above.shape[1]


def promises(
    scores: FloatArray, nodes: IntArray, owner: IntArray, below: tuple[IntArray, IntArray]
) -> tuple[IntArray, IntArray, IntArray]:
    """Return what the drafter promises along the accepted paths of G steps: counts, millionths, kept, `[G]`.

    A node promises that one of its children is accepted, with the sum of their probabilities after it. One
    whose children's scores are its own (a proposer that has no probabilities) promises nothing.

    Args:
        scores: Cumulative log-probabilities, `[G, N]`.
        nodes: The path's nodes, root first, step after step, `[P]`.
        owner: The step of each, `[P]`.
        below: Their `children`.
    """
    of_path, child = below
    of_step, num_nodes = owner[of_path], len(nodes)
    with np.errstate(over="ignore", invalid="ignore"):
        after = scores[of_step, child].astype(np.float64) - scores[of_step, nodes[of_path]].astype(np.float64)
        chances = np.exp(after)
        known = np.bincount(of_path[after < 0], minlength=num_nodes) > 0
        known[of_path[~(np.isfinite(after) & (after <= 0))]] = False
        sums = np.bincount(of_path, weights=chances, minlength=num_nodes)
        total = np.where(known, np.minimum(sums, 1.0), 0.0)
    went_on = np.append(owner[1:] == owner[:-1], False)
    size = len(scores)
    weights = (known, np.rint(total * 1e6), known & went_on)
    count, promised, kept = (
        np.bincount(owner, weights=each, minlength=size).astype(np.int64) for each in weights
    )
    return count, promised, kept
