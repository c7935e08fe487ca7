"""The few numbers of a step that statistics are made of; as arrays, so that batches add them at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from invariants.inputs import Row
from invariants.rule import BoolArray, IntArray


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
    children: dict[int, list[int]] = {}
    for node in range(1, len(row["parents"])):
        if row["valid"][node]:
            children.setdefault(int(row["parents"][node]), []).append(node)
    accepted = [int(node) for node in row["accepted_nodes"]]
    families = [children[int(row["parents"][node])] for node in accepted]
    nodes = [node for family in children.values() for node in family]
    tokens = {int(row["token_ids"][node]) for node in nodes}
    deepest = max((int(row["depths"][node]) for node in nodes), default=0)
    drafted = len(nodes) >= 3 and deepest >= 2
    contested = [(node, family) for node, family in zip(accepted, families, strict=True) if len(family) > 1]
    return Facts(
        cut=np.array([row.get("stop_reason") is not None]),
        num_accepted=np.array([len(accepted)]),
        deepest=np.array([deepest]),
        committed_len=np.array([int(row["committed_len"])]),
        could_go_on=np.array([(accepted[-1] if accepted else 0) in children]),
        num_contested=np.array([len(contested)]),
        num_branch_wins=np.array([sum(node != family[0] for node, family in contested)]),
        drafted=np.array([drafted]),
        identical=np.array([drafted and len(tokens) == 1]),
    )
