"""Faults of whole trees: a consistent one of other parents, one left over, tokens moved under their nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tracing.stages import Drafted, Tensorized
from workbench.faults.edits import another_parent, deep_node, poked, since
from workbench.faults.fault import Fault
from workbench.faults.placement import Scene, after


def _consistently_elsewhere(made: Tensorized, _: Scene) -> Tensorized:
    """Hang a node below another parent, and let everything that follows from parents agree."""
    node = deep_node(made)
    parent = another_parent(made, node)
    parents, visible = made.parents.copy(), made.visible.copy()
    parents[node], visible[node] = parent, visible[parent]
    visible[node, node] = True
    return replace(made, parents=parents, visible=visible)


def _left_over(made: Drafted, scene: Scene) -> Any:
    """A replay reads the output buffer of the step before; only the root is new."""
    stale = scene.memory.setdefault("tree", made)
    scene.memory["tree"] = made
    return poked(stale, "token_ids", 0, made.token_ids[0])


def _shifted_in_place(made: Tensorized, _: Scene) -> Tensorized:
    """`ids[1:] = ids[:-1]` copies in the wrong order: the first draft is everywhere."""
    token_ids = made.token_ids.copy()
    token_ids[1 : int(made.valid.sum())] = made.token_ids[1]
    return replace(made, token_ids=token_ids)


def _one_token(made: Tensorized, _: Scene) -> Any:
    """The last node carries a token that nobody drafted for it; it is hardly ever accepted."""
    node = int(made.valid.sum()) - 1
    taken = set(made.token_ids.tolist())
    return poked(made, "token_ids", node, next(each for each in range(len(taken) + 1) if each not in taken))


FAULTS: Final = (
    Fault(
        id="F-TREE-14",
        name="tree-of-other-parents",
        about="A node hangs below another parent than it was drafted for, and all that follows agrees.",
        stage="tensorize",
        seen_in=("sgl#8409", "eagle topK_genrate, parent found by sorted search"),
        noticed_by=("TREE011", "DRAFT002", "JUDGE-TENSORIZE-PARENTS"),
        place=lambda: after("tensorize", since(1, _consistently_elsewhere)),
    ),
    Fault(
        id="F-TREE-15",
        name="tree-of-the-step-before",
        about="A graph is replayed on old buffers: the tree of the step before, under the new root.",
        stage="draft",
        seen_in=("sgl#15399", "va#10878"),
        noticed_by=("DRAFT005", "JUDGE-DRAFT-SCORES", "JUDGE-DRAFT-CANDIDATES"),
        place=lambda: after("draft", _left_over),
    ),
    Fault(
        id="F-TREE-16",
        name="tokens-shifted-in-place",
        about="An overlapping slice copy spreads the first draft over all nodes.",
        stage="tensorize",
        seen_in=("va#11337",),
        noticed_by=("TREE007", "JUDGE-TENSORIZE-TOKENS"),
        place=lambda: after("tensorize", since(1, _shifted_in_place)),
    ),
    Fault(
        id="F-TREE-17",
        name="token-of-a-leaf-changed",
        about="One leaf is verified with a token that was not drafted for it.",
        stage="tensorize",
        seen_in=("sgl#27338", "sgl#27460"),
        noticed_by=("JUDGE-TENSORIZE-TOKENS",),
        place=lambda: after("tensorize", since(1, _one_token)),
    ),
)
