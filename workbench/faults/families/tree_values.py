"""Faults of whole trees: consistent with other parents, left over, with tokens of other nodes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from tracing.stages import Drafted, Tensorized
from workbench.faults.edits import another_parent, deep_node, poked
from workbench.faults.fault import fault
from workbench.faults.placement import Scene, after

tree_fault: Final = partial(fault, stage="tensorize", placed=after("tensorize", since=1))


@tree_fault(
    "F-TREE-14",
    "sgl#8409",
    "eagle topK_genrate, parent found by sorted search",
    noticed_by=("TREE011", "DRAFT002", "JUDGE-TENSORIZE-PARENTS"),
)
def tree_of_other_parents(made: Tensorized, _: Scene) -> Tensorized:
    """A node hangs below another parent than it was drafted for, and all that follows agrees."""
    node = deep_node(made)
    parent = another_parent(made, node)
    parents, visible = made.parents.copy(), made.visible.copy()
    parents[node], visible[node] = parent, visible[parent]
    visible[node, node] = True
    return replace(made, parents=parents, visible=visible)


@fault("F-TREE-15", "sgl#15399", "va#10878", stage="draft", noticed_by=("JUDGE-STALE",))
def tree_of_the_step_before(made: Drafted, scene: Scene) -> Any:
    """A graph is replayed on old buffers: the tree of the step before, under the new root."""
    stale = scene.memory.setdefault("tree", made)
    scene.memory["tree"] = made
    return poked(stale, "token_ids", 0, made.token_ids[0])


@tree_fault("F-TREE-16", "va#11337", noticed_by=("TREE007", "JUDGE-TENSORIZE-TOKENS"))
def tokens_shifted_in_place(made: Tensorized, _: Scene) -> Tensorized:
    """An overlapping slice copy spreads the first draft over all nodes.

    `ids[1:] = ids[:-1]` copies in the wrong order.
    """
    token_ids = made.token_ids.copy()
    token_ids[1 : int(made.valid.sum())] = made.token_ids[1]
    return replace(made, token_ids=token_ids)


@tree_fault("F-TREE-17", "sgl#27338", "sgl#27460", noticed_by=("JUDGE-TENSORIZE-TOKENS",))
def token_of_a_leaf_changed(made: Tensorized, _: Scene) -> Any:
    """One leaf is verified with a token that was not drafted for it.

    The last node is hardly ever accepted.
    """
    node = int(made.valid.sum()) - 1
    taken = set(made.token_ids.tolist())
    return poked(made, "token_ids", node, next(each for each in range(len(taken) + 1) if each not in taken))
