"""Faults of static shapes: a captured graph reads what lies elsewhere, in another form, or is of before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from torch.nn import functional

from tracing.stages import Tensorized
from workbench.faults.fault import fault
from workbench.faults.placement import Scene, before, on_function, within
from workbench.fused import verify

Function = Callable[..., Any]
static_fault: Final = partial(fault, stage="verify", need="medusa")
REFRESH: Final = on_function(verify, "refresh")


@static_fault(
    "F-STATIC-01", "va#6491", "va#4221", noticed_by=("NPU-STATIC-ADDRESS",), placed=before("verify")
)
def mask_allocated_at_each_step(arguments: tuple[Tensorized], scene: Scene) -> tuple[Tensorized]:
    """The mask of each step is a new tensor; a captured graph goes on reading the first one."""
    inputs = scene.state.inputs
    kept = scene.memory.setdefault("masks", [])  # so that no new one lies where an old one lay
    kept.append(inputs.blocked)
    scene.state.inputs = replace(
        inputs, blocked={name: mask.clone() for name, mask in inputs.blocked.items()}
    )
    return arguments


@static_fault("F-STATIC-02", "va#9290", noticed_by=("NPU-STATIC-CONTENTS",), placed=REFRESH)
def static_positions_of_the_step_before(
    original: Function, inputs: Any, tree: Tensorized, blocked: Any, pages: Any
) -> None:
    """All inputs are refreshed but the positions, which the graph replays as they were."""
    kept = inputs.position_ids.clone()
    original(inputs, tree, blocked, pages)
    if kept.any():
        inputs.position_ids.copy_(kept)


@static_fault(
    "F-STATIC-03",
    "sgl#37553",
    "va#4221",
    noticed_by=("NPU-STATIC-CONTENTS", "JUDGE-VERIFY-PREFIX", "JUDGE-VERIFY-VISIBLE", "MASK009"),
    placed=REFRESH,
)
def mask_kept_from_the_capture(
    original: Function, inputs: Any, tree: Tensorized, blocked: Any, pages: Any
) -> None:
    """The mask is filled in when the graph is captured and never again: later rows are not in it."""
    kept = {window: mask.clone() for window, mask in inputs.blocked.items()}
    original(inputs, tree, blocked, pages)
    for window, mask in kept.items():
        if not mask.all():
            inputs.blocked[window].copy_(mask)


@static_fault(
    "F-STATIC-04",
    "arXiv 2603.03383: data paths are fixed when a graph is compiled",
    noticed_by=("NPU-STATIC-FORM",),
    placed=before("verify"),
)
def mask_of_another_form(arguments: tuple[Tensorized], scene: Scene) -> tuple[Tensorized]:
    """From the second step on the mask is one column wider than at capture."""
    inputs = scene.state.inputs
    if scene.memory.setdefault("steps", 0):
        wider = {window: functional.pad(mask, (0, 1), value=True) for window, mask in inputs.blocked.items()}
        scene.state.inputs = replace(inputs, blocked=wider)
    scene.memory["steps"] = 1
    return arguments


@static_fault(
    "F-STATIC-05",
    "va#6491",
    noticed_by=("NPU-STATIC-OPERATOR",),
    placed=within("verify", "npu_fused_infer_attention_score"),
)
def operator_given_a_copy(operator: Function, *states: Any, **options: Any) -> Any:
    """The buffer is kept and refreshed, and the operator is given a copy of it."""
    mask = options.get("atten_mask")
    return operator(*states, **{**options, "atten_mask": None if mask is None else mask.clone()})
