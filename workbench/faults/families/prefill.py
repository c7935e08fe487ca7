"""Faults of prefill: what goes into the cache first, and the first root."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tracing.stages import Prefilled
from workbench.faults.fault import fault
from workbench.faults.placement import Scene, before


@fault(
    "F-PRE-01",
    "sgl#26329",
    "va#6835",
    stage="prefill",
    noticed_by=("JUDGE-PREFILL-CONTEXT", "JUDGE-SHAPE", "STEP005"),
    placed=before("prefill"),
)
def prompt_tail_dropped(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """The last token of the prompt is left out of prefill."""
    return (arguments[0][:-1],)


@fault("F-PRE-02", "vllm#39773", stage="prefill", noticed_by=("JUDGE-PREFILL-ARGMAX",))
def root_from_another_row(made: Prefilled, scene: Scene) -> Prefilled:
    """The first root is not the choice of the last prompt row.

    A stale index gives any row but the last one; here, the second best token.
    """
    root = int(made.logits.topk(2).indices[1])
    context = made.context_token_ids.copy()
    context[-1] = root
    token_ids = scene.state.memory.new_rows.token_ids.clone()
    token_ids[-1] = root
    scene.state.memory.new_rows = replace(scene.state.memory.new_rows, token_ids=token_ids)
    return replace(made, context_token_ids=context)
