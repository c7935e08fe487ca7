"""Faults of a draft model: its rows, positions, and who sees whom while it drafts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from workbench.faults.fault import fault
from workbench.faults.placement import on_function
from workbench.fused.drafters import draft_model

Function = Callable[..., Any]

SCORES: Final = ("JUDGE-DRAFT-SCORES", "JUDGE-DRAFT-CANDIDATES", "JUDGE-ROW-MOVED", "JUDGE-DRAFT-KV")
model_fault: Final = partial(fault, stage="draft", noticed_by=SCORES, need="draft_model")


@model_fault("F-MODEL-01", "draft models of engines", placed=on_function(draft_model, "_expand"))
def drafted_siblings_visible(original: Function, drafter: Any, memory: Any, turn: Any, beams: Any) -> Any:
    """A beam of the draft model attends to every row drafted before it, not to its ancestors alone."""
    everything = torch.ones_like(beams.tree_visible)
    return original(drafter, memory, turn, replace(beams, tree_visible=everything))


@model_fault("F-MODEL-02", "draft models of engines", placed=on_function(draft_model, "_run"))
def drafted_position_one_early(
    original: Function, drafter: Any, memory: Any, tokens: Any, *others: Any, **options: Any
) -> Any:
    """The first drafted row repeats the root's position, and all below it are one early."""
    positions, visible = others
    return original(drafter, memory, tokens, positions - int("last_only" not in options), visible, **options)


@model_fault("F-MODEL-03", "draft models of engines", placed=on_function(draft_model, "_feed"))
def root_fed_twice(original: Function, drafter: Any, memory: Any, seen: Any) -> Any:
    """Tokens without a row are counted one too many: the last row is run again behind itself."""
    spoiled = replace(memory.tokens, token_ids=(*memory.tokens.token_ids, memory.tokens.token_ids[-1]))
    return original(drafter, replace(memory, tokens=spoiled), seen)


@model_fault("F-MODEL-04", "draft models of engines", placed=on_function(draft_model, "_feed"))
def rejected_rows_kept(original: Function, drafter: Any, memory: Any, seen: Any) -> Any:
    """Rows of the draft before, beam beside beam, are taken for rows of committed tokens."""
    length = memory.cache.get_seq_length()
    if length:
        memory.cache.truncate(max(length, min(length + 3, len(memory.tokens.token_ids) - 1)))
    return original(drafter, memory, seen)
