"""Faults of prefill: what goes into the cache first, and the first root."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tracing.stages import Prefilled
from workbench.faults.fault import Fault
from workbench.faults.placement import Scene, after, before


def _without_its_tail(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    return (arguments[0][:-1],)


def _second_best_root(made: Prefilled, scene: Scene) -> Prefilled:
    """The root is chosen from a stale index: any row but the last one; here, the second best token."""
    root = int(made.logits.topk(2).indices[1])
    context = made.context_token_ids.copy()
    context[-1] = root
    token_ids = scene.state.new_rows.token_ids.clone()
    token_ids[-1] = root
    scene.state.new_rows = replace(scene.state.new_rows, token_ids=token_ids)
    return replace(made, context_token_ids=context)


FAULTS: Final = (
    Fault(
        id="F-PRE-01",
        name="prompt-tail-dropped",
        about="The last token of the prompt is left out of prefill.",
        stage="prefill",
        seen_in=("sgl#26329", "va#6835"),
        noticed_by=("JUDGE-PREFILL-CONTEXT", "JUDGE-SHAPE", "STEP005"),
        place=lambda: before("prefill", _without_its_tail),
    ),
    Fault(
        id="F-PRE-02",
        name="root-from-another-row",
        about="The first root is not the choice of the last prompt row.",
        stage="prefill",
        seen_in=("vllm#39773",),
        noticed_by=("JUDGE-PREFILL-ARGMAX",),
        place=lambda: after("prefill", _second_best_root),
    ),
)
