"""Rarer mistakes of the fused path: other drafters, windows, pages; each name says what it does."""

from __future__ import annotations

from typing import Any

import numpy as np

from causes.held.fused import Port, mistake
from workbench.fused import verify
from workbench.fused.cache.pages import BlockTable
from workbench.fused.drafters import draft_model, eagle3, lookup, medusa
from workbench.fused.drafters.draft_model import DraftModel

mistake.add(
    "mask",
    "tree-window-one-wider",
    verify,
    "within_window",
    lambda right, at, keys, window: right(at, keys, window + 1),
    need="windows",
)
mistake.add(
    "mask",
    "drafter-window-one-narrower",
    eagle3,
    "within_window",
    lambda right, at, keys, window: right(at, keys, window - 1),
    need="windows",
)


@mistake("cache", need="paged_pads")
def last_row_of_a_tree_in_the_slot_before(port: Port) -> None:
    def before(right: Any, table: Any, positions: Any) -> Any:
        made = np.array(right(table, positions))
        if len(made) == port.engine.settings.tree_nodes:
            made[-1] = made[-2]
        return made

    port.bend(BlockTable, "slots", before)


@mistake("drafter", need="medusa")
def heads_exchanged(port: Port) -> None:
    drafter: Any = port.engine.drafter
    object.__setattr__(drafter, "heads", drafter.heads[::-1])


@mistake("scores", need="medusa")
def head_logits_doubled(port: Port) -> None:
    object.__setattr__(port.engine.drafter, "logit_scale", 2.0)


mistake.add(
    "scores",
    "scores-not-summed-down",
    medusa,
    "summed_down",
    lambda right, tree, gained: gained,
    need="medusa",
)


@mistake.bends("positions", draft_model, "_run", need="draft_model")
def beams_of_the_model_one_early(right: Any, drafter: Any, memory: Any, *rows: Any, **more: Any) -> Any:
    tokens, places, seen = rows
    return right(drafter, memory, tokens, places if "last_only" in more else places - 1, seen, **more)


@mistake.bends("drafter", DraftModel, "follow", need="draft_model")
def last_token_not_followed(right: Any, own: Any, memory: Any, rows: Any) -> None:
    right(own, memory, type(rows)(rows.token_ids, rows.next_token_ids.copy()[::-1].copy(), rows.features))


@mistake.bends("drafter", lookup, "_continuation", need="lookup")
def continuation_one_place_further(right: Any, *given: Any) -> Any:
    found = right(*given)
    return None if found is None else found + 1


mistake.add(
    "drafter",
    "shortest-suffix-alone",
    lookup,
    "_continuation",
    lambda right, text, source, low, high: right(text, source, low, low),
    need="lookup",
)
mistake.add(
    "drafter",
    "looked-up-past-the-end",
    lookup,
    "_until_any",
    lambda right, found, stops: len(found),
    need="lookup_eos",
)
