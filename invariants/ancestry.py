"""Who is on whose path to the root, by following parents one at a time.

The tree of four nodes `parents = [0, 0, 0, 1]` (1 and 2 under the root, 3 under 1) has the closure

    query  key 0 1 2 3
        0      x . . .
        1      x x . .
        2      x . x .
        3      x x . x

Both decoding paths have their own way to build this; this one shares no line with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invariants.rule import BoolArray, IntArray


def path_to_root(node: int, parents: Sequence[int] | IntArray) -> list[int] | None:
    """Return the node, its parent, and so on up to the root; None if the walk leaves the tree or circles.

    Args:
        node: Where to begin, in `[0, N)`.
        parents: Parent of each node, `[N]`; `parents[0] == 0`.
    """
    path = [node]
    while path[-1] != 0:
        parent = int(parents[path[-1]])
        if not 0 <= parent < len(parents) or len(path) > len(parents):
            return None
        path.append(parent)
    return path


def ancestor_or_self(parents: Sequence[int] | IntArray, valid: Sequence[bool] | BoolArray) -> BoolArray:
    """Return `[N, N]`: True where the key is the query itself or one of its ancestors, both valid.

    Args:
        parents: Parent of each node, `[N]`; every valid node's walk must reach the root.
        valid: False for pads, `[N]`.
    """
    closure = np.zeros((len(parents), len(parents)), dtype=np.bool_)
    for query in range(len(parents)):
        if valid[query]:
            for key in path_to_root(query, parents) or ():
                closure[query, key] = bool(valid[key])
    return closure
