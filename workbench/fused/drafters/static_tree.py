"""The topology of a static tree as the tables of a compiled graph, made once and never written to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracing.stages import BoolArray, IntArray
from tracing.static_tree import WIDTH, RankPath


@dataclass(frozen=True, slots=True)
class StaticTree:
    """Tables of a tree of T nodes, node 0 the root; shapes and addresses stay as they are for a whole run.

    Attributes:
        parents, depths: int64 `[T]`.
        ranks: Rank of each node's token in its head's candidates, int64 `[T]`; 0 for the root.
        candidates: Place of each node's token in (root, best of head 0, best of head 1, ...), int64 `[T]`.
        visible: `visible[query, key]`, True attends, bool `[T, T]`.
        retrieve: Nodes of each path from the root to a leaf, int64 `[leaves, deepest + 1]`; behind a shorter
            path stands T, the place of a node that nobody can accept.
    """

    parents: IntArray
    depths: IntArray
    ranks: IntArray
    candidates: IntArray
    visible: BoolArray
    retrieve: IntArray

    @property
    def num_nodes(self) -> int:
        """T, the root included."""
        return len(self.parents)

    @classmethod
    def of(cls, paths: tuple[RankPath, ...]) -> StaticTree:
        """Make the tables of paths in order (`tracing.static_tree.static_tree`)."""
        node_of = {(): 0} | {path: node for node, path in enumerate(paths, start=1)}
        num_nodes = len(node_of)
        parents = np.array([node_of[path[:-1]] for path in node_of], dtype=np.int64)
        depths = np.array([len(path) for path in node_of], dtype=np.int64)
        ranks = np.array([path[-1] if path else 0 for path in node_of], dtype=np.int64)
        visible = np.eye(num_nodes, dtype=np.bool_)
        for node in range(1, num_nodes):
            visible[node] |= visible[parents[node]]
        tables = cls(
            parents,
            depths,
            ranks,
            np.where(depths > 0, WIDTH * (depths - 1) + ranks + 1, 0),
            visible,
            _leaf_paths(parents, depths, visible),
        )
        for table in (parents, depths, ranks, tables.candidates, visible, tables.retrieve):
            table.flags.writeable = False
        return tables

    def accepted(self, token_ids: IntArray, target_token_ids: IntArray) -> IntArray:
        """Return the root and the nodes accepted below it, int64 `[A + 1]`: one gather along all paths.

        Args:
            token_ids: Of the nodes, int64 `[T]`.
            target_token_ids: The teacher's choice after each node, int64 `[T]`.
        """
        drafted = np.append(token_ids, -1)[self.retrieve]
        chosen = np.append(target_token_ids, -2)[self.retrieve]
        lengths = np.cumprod(drafted[:, 1:] == chosen[:, :-1], axis=1).sum(axis=1)
        best = int(lengths.argmax())
        path: IntArray = self.retrieve[best, : int(lengths[best]) + 1]
        return path


def _leaf_paths(parents: IntArray, depths: IntArray, visible: BoolArray) -> IntArray:
    """Return the paths to all leaves, the last leaf's first."""
    num_nodes = len(parents)
    leaves = np.setdiff1d(np.arange(num_nodes), parents[1:])[::-1]
    table = np.full((len(leaves), int(depths.max()) + 1), num_nodes, dtype=np.int64)
    for row, leaf in enumerate(leaves.tolist()):
        path = np.flatnonzero(visible[leaf])
        table[row, : len(path)] = path
    return table
