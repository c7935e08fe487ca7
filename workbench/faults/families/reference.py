"""Faults of the reference: it can be the wrong one, and must then be named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from tracing.stages import Accepted, Tensorized
from workbench.faults.edits import deep_node, poked
from workbench.faults.fault import Fault
from workbench.faults.placement import Placement, on_reference
from workbench.lockstep.reference_runner import ReferenceRunner


def _verify_with(spoil: Callable[[Any, Any, Any], tuple[Any, Any, Any]]) -> Placement:
    """Spoil what the reference's rung is fed: `(token_ids, position_ids, visible)`."""

    def change(runner: ReferenceRunner) -> None:
        rung = runner.stages.rung

        def verify(models: Any, committed: Any, *tree: Any) -> Any:
            return rung.verify(models, committed, *spoil(*tree))

        runner.stages = replace(runner.stages, rung=replace(rung, verify=verify))

    return on_reference(change)


def _leak(token_ids: Any, position_ids: Any, visible: Any) -> tuple[Any, Any, Any]:
    leaked = visible.copy()
    leaked[2, 1] = True
    return token_ids, position_ids, leaked


def _one_too_far(token_ids: Any, position_ids: Any, visible: Any) -> tuple[Any, Any, Any]:
    moved = position_ids.copy()
    moved[2] += 1
    return token_ids, moved, visible


def _wrong_final(runner: ReferenceRunner) -> None:
    accept = runner.stages.accept

    def wrong(*given: Any) -> Accepted:
        made = accept(*given)
        return replace(made, final_token_id=(made.final_token_id + 1) % runner.truth.pair.teacher.vocab_size)

    runner.stages = replace(runner.stages, accept=wrong)


def _wrong_position(runner: ReferenceRunner) -> None:
    tensorize = runner.stages.tensorize

    def wrong(*given: Any) -> Any:
        made: Tensorized = tensorize(*given)
        node = deep_node(made)
        return poked(made, "position_ids", node, made.position_ids[node] + 1)

    runner.stages = replace(runner.stages, tensorize=wrong)


FAULTS: Final = (
    Fault(
        id="F-REF-01",
        name="reference-sees-a-sibling",
        about="The reference lets a node attend to its sibling.",
        stage="verify",
        seen_in=("speculators#691",),
        noticed_by=("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS"),
        place=lambda: _verify_with(_leak),
        guilty="reference",
    ),
    Fault(
        id="F-REF-02",
        name="reference-one-position-too-far",
        about="The reference rotates a node one position too far.",
        stage="verify",
        seen_in=("speculators#703",),
        noticed_by=("JUDGE-VERIFY-KV",),
        place=lambda: _verify_with(_one_too_far),
        guilty="reference",
    ),
    Fault(
        id="F-REF-03",
        name="reference-builds-a-wrong-position",
        about="The reference's own arrays put a node one position too far.",
        stage="tensorize",
        seen_in=("sgl#25015",),
        noticed_by=("JUDGE-TENSORIZE-POSITIONS",),
        place=lambda: on_reference(_wrong_position),
        guilty="reference",
    ),
    Fault(
        id="F-REF-04",
        name="reference-ends-with-another-token",
        about="The reference ends the step with a token that the teacher did not choose.",
        stage="accept",
        seen_in=("eagle#75",),
        noticed_by=("JUDGE-ACCEPT-FINAL", "JUDGE-ACCEPT-EMITTED"),
        place=lambda: on_reference(_wrong_final),
        guilty="reference",
    ),
)
