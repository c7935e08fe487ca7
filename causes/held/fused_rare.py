"""Rarer mistakes of the fused path: other drafters, windows, pages; each name says what it does."""

from __future__ import annotations

from typing import Any

import numpy as np

from causes.held.fused import Port, mistake
from workbench.fused import verify
from workbench.fused.cache.pages import BlockTable
from workbench.fused.drafters import draft_model, eagle3, lookup, medusa
from workbench.fused.drafters.draft_model import DraftModel


@mistake("mask", need="windows")
def tree_window_one_wider(port: Port) -> None:
    port.bend(verify, "within_window", lambda right, at, keys, window: right(at, keys, window + 1))


@mistake("mask", need="windows")
def drafter_window_one_narrower(port: Port) -> None:
    port.bend(eagle3, "within_window", lambda right, at, keys, window: right(at, keys, window - 1))


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


@mistake("scores", need="medusa")
def scores_not_summed_down(port: Port) -> None:
    port.bend(medusa, "summed_down", lambda right, tree, gained: gained)


@mistake("positions", need="draft_model")
def beams_of_the_model_one_early(port: Port) -> None:
    def early(right: Any, drafter: Any, memory: Any, *rows: Any, **more: Any) -> Any:
        tokens, places, seen = rows
        return right(drafter, memory, tokens, places if "last_only" in more else places - 1, seen, **more)

    port.bend(draft_model, "_run", early)


@mistake("drafter", need="draft_model")
def last_token_not_followed(port: Port) -> None:
    def lost(right: Any, own: Any, memory: Any, rows: Any) -> None:
        right(own, memory, type(rows)(rows.token_ids, rows.next_token_ids.copy()[::-1].copy(), rows.features))

    port.bend(DraftModel, "follow", lost)


@mistake("drafter", need="lookup")
def continuation_one_place_further(port: Port) -> None:
    def further(right: Any, *given: Any) -> Any:
        found = right(*given)
        return None if found is None else found + 1

    port.bend(lookup, "_continuation", further)


@mistake("drafter", need="lookup")
def shortest_suffix_alone(port: Port) -> None:
    port.bend(lookup, "_continuation", lambda right, text, source, low, high: right(text, source, low, low))


@mistake("drafter", need="lookup_eos")
def looked_up_past_the_end(port: Port) -> None:
    port.bend(lookup, "_until_any", lambda right, found, stops: len(found))
