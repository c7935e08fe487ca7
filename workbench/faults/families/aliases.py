"""Faults of memory that two share: a stage writes into what it was given, or into a cache it only reads."""

from __future__ import annotations

from typing import Any, Final

from tracing.stages import Accepted
from workbench.faults.edits import since
from workbench.faults.fault import Fault
from workbench.faults.placement import Scene, after


def _drafted_rewritten(made: Any, scene: Scene) -> Any:
    """The table of the later draft levels is rewritten in place while the tree is built from it."""
    scene.arguments[0].parents[-1] = 0
    return made


def _tree_rewritten(made: Any, scene: Scene) -> Any:
    """The buffer of token ids is filled for the next launch while acceptance still needs it."""
    scene.arguments[0].token_ids[1:] = 0
    return made


def _prefix_written(made: Accepted, scene: Scene) -> Accepted:
    """Write into the first committed row."""
    _written(scene.state.caches.main_cache, 0)
    return made


def _path_written(made: Accepted, scene: Scene) -> Accepted:
    """Write into the last row of the path."""
    _written(scene.state.caches.branch_caches[0], int(made.path_indices[-1]))
    return made


def _written(cache: Any, place: int) -> None:
    layer = cache.layers[0]
    layer.rows(0, layer.get_seq_length())[:, place] += 0.5


FAULTS: Final = (
    Fault(
        id="F-ALIAS-01",
        name="draft-rewritten-by-tensorize",
        about="Tensorize rewrites the drafted parents in place, after it has read them.",
        stage="tensorize",
        seen_in=("va#7549", "va#11337"),
        noticed_by=("JUDGE-INPUT-WRITTEN",),
        place=lambda: after("tensorize", since(1, _drafted_rewritten)),
    ),
    Fault(
        id="F-ALIAS-02",
        name="tree-rewritten-by-verify",
        about="Verify fills the buffer of token ids for the next launch while acceptance still needs it.",
        stage="verify",
        seen_in=("va#10878", "va#14236"),
        noticed_by=("JUDGE-INPUT-WRITTEN",),
        place=lambda: after("verify", since(1, _tree_rewritten)),
    ),
    Fault(
        id="F-ALIAS-03",
        name="prefix-written-by-accept",
        about="Accept keeps scratch values where the committed cache lies; at first sight commit did it.",
        stage="accept",
        seen_in=("va#8435", "vllm#43810"),
        noticed_by=("JUDGE-CACHE-WRITTEN",),
        place=lambda: after("accept", since(1, _prefix_written)),
    ),
    Fault(
        id="F-ALIAS-04",
        name="tree-rows-written-by-accept",
        about="Accept writes over a row of the tree that commit is about to move.",
        stage="accept",
        seen_in=("va#3482", "sgl#27338"),
        noticed_by=("JUDGE-CACHE-WRITTEN",),
        place=lambda: after("accept", since(1, _path_written)),
    ),
)
