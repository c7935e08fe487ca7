"""Faults of shared memory: a stage writes into what it was given, or into a cache it only reads."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tracing.stages import Accepted, Tensorized, Verified
from workbench.faults.fault import fault
from workbench.faults.placement import Scene, after


def _write(cache: Any, place: int) -> None:
    layer = cache.layers[0]
    layer.rows(0, layer.get_seq_length())[:, place] += 0.5


input_fault: Final = partial(fault, noticed_by=("JUDGE-INPUT-WRITTEN",))
cache_fault: Final = partial(
    fault, stage="accept", noticed_by=("JUDGE-CACHE-WRITTEN",), placed=after("accept", since=1)
)


@input_fault("F-ALIAS-01", "va#7549", "va#11337", stage="tensorize", placed=after("tensorize", since=1))
def draft_rewritten_by_tensorize(made: Tensorized, scene: Scene) -> Tensorized:
    """Tensorize rewrites the drafted parents in place, after it has read them."""
    scene.arguments[0].parents[-1] = 0
    return made


@input_fault("F-ALIAS-02", "va#10878", "va#14236", stage="verify", placed=after("verify", since=1))
def tree_rewritten_by_verify(made: Verified, scene: Scene) -> Verified:
    """Verify fills the buffer of token ids for the next launch while acceptance still needs it."""
    scene.arguments[0].token_ids[1:] = 0
    return made


@cache_fault("F-ALIAS-03", "va#8435", "vllm#43810")
def prefix_written_by_accept(made: Accepted, scene: Scene) -> Accepted:
    """Accept keeps scratch values where the committed cache lies; at first sight commit did it."""
    _write(scene.state.caches.main_cache, 0)
    return made


@cache_fault("F-ALIAS-04", "va#3482", "sgl#27338")
def tree_rows_written_by_accept(made: Accepted, scene: Scene) -> Accepted:
    """Accept writes over a row of the tree that commit is about to move."""
    _write(scene.state.caches.branch_caches[0], int(made.path_indices[-1]))
    return made
