"""Faults of the reference: it can be the wrong one, and must then be named."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from tracing.stages import Accepted, Tensorized
from workbench.faults.edits import deep_node, poked
from workbench.faults.fault import fault
from workbench.faults.placement import Placement, Spoil, on_reference
from workbench.lockstep.truth.reference_runner import ReferenceRunner

reference_fault: Final = partial(fault, guilty="reference")


def on_rung(spoil: Spoil) -> Placement:
    """Spoil what the reference's rung is fed: `(token_ids, position_ids, visible)`."""

    def change(runner: ReferenceRunner) -> None:
        rung = runner.stages.rung

        def verify(models: Any, committed: Any, *tree: Any) -> Any:
            return rung.verify(models, committed, *spoil(*tree))

        runner.stages = replace(runner.stages, rung=replace(rung, verify=verify))

    return on_reference(change)


@reference_fault(
    "F-REF-01",
    "speculators#691",
    stage="verify",
    noticed_by=("JUDGE-VERIFY-VISIBLE", "JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS"),
    placed=on_rung,
)
def reference_sees_a_sibling(token_ids: Any, position_ids: Any, visible: Any) -> tuple[Any, Any, Any]:
    """The reference lets a node attend to its sibling."""
    leaked = visible.copy()
    leaked[2, 1] = True
    return token_ids, position_ids, leaked


@reference_fault(
    "F-REF-02", "speculators#703", stage="verify", noticed_by=("JUDGE-VERIFY-KV",), placed=on_rung
)
def reference_one_position_too_far(token_ids: Any, position_ids: Any, visible: Any) -> tuple[Any, Any, Any]:
    """The reference rotates a node one position too far."""
    moved = position_ids.copy()
    moved[2] += 1
    return token_ids, moved, visible


@reference_fault(
    "F-REF-03", "sgl#25015", stage="tensorize", noticed_by=("JUDGE-TENSORIZE-POSITIONS",), placed=on_reference
)
def reference_builds_a_wrong_position(runner: ReferenceRunner) -> None:
    """The reference's own arrays put a node one position too far."""
    tensorize = runner.stages.tensorize

    def wrong(*given: Any) -> Any:
        made: Tensorized = tensorize(*given)
        node = deep_node(made)
        return poked(made, "position_ids", node, made.position_ids[node] + 1)

    runner.stages = replace(runner.stages, tensorize=wrong)


@reference_fault(
    "F-REF-04",
    "eagle#75",
    stage="accept",
    noticed_by=("JUDGE-ACCEPT-FINAL", "JUDGE-ACCEPT-EMITTED"),
    placed=on_reference,
)
def reference_ends_with_another_token(runner: ReferenceRunner) -> None:
    """The reference ends the step with a token that the teacher did not choose."""
    accept = runner.stages.accept

    def wrong(*given: Any) -> Accepted:
        made = accept(*given)
        return replace(made, final_token_id=(made.final_token_id + 1) % runner.truth.pair.teacher.vocab_size)

    runner.stages = replace(runner.stages, accept=wrong)
