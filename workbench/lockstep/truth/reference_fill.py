"""Results of the reference where the path under test lacks a stage, or may not launch it."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.teacher import TeacherRows
from tracing.stages import Accepted, Committed, DecodePath, Drafted, Prefilled, Stages, Tensorized, Verified
from workbench.lockstep.engine.step import run_step
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.chosen_experts import chosen_of_step
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.lockstep.truth.sampled import accept_by, choose_root

LACKING = DecodePath(name="none", stages=Stages(), begin=lambda watch: watch)
"""A path without a stage: a step of it is wholly the reference's."""


class ReferenceFill:
    """Fills stages with the reference's results on the values so far.

    Attributes:
        runner: The reference.
        turn_state: The turn, as it is before the step.
        results: Values so far; filled with the results.
    """

    def __init__(self, runner: ReferenceRunner, turn_state: FedTurnState, results: StepResults) -> None:
        self.runner = runner
        self.turn_state = turn_state
        self.results = results

    def before_stage(self, stage: str) -> None:
        """Do nothing."""

    def after_stage(self, stage: str, result: Any) -> None:
        """Keep a result."""
        self.results.keep(stage, result)

    def fill(self, stage: str, arguments: tuple[Any, ...], error: Exception | None) -> Any:
        """Return the reference's result of a stage that is not there.

        Raises:
            Exception: The stage's own error.
        """
        if error is not None:
            raise error
        self.results.filled_by_reference.add(stage)
        result = getattr(self, f"_{stage}")
        return result(*arguments) if stage == "prefill" else result()

    def _prefill(self, prompt: list[int]) -> Prefilled:
        rows = self.runner.prefill(prompt)[0]
        root = choose_root(self.runner, rows.logits[-1], ()).token_id
        context = np.array([*prompt, root], dtype=np.int64)
        ids = None if rows.routing is None else rows.routing.expert_ids.cpu().numpy()
        return Prefilled(
            context_token_ids=context, logits=rows.logits[-1], features=rows.features, expert_ids=ids
        )

    def _draft(self) -> Drafted:
        return self.runner.free_draft(*self.turn_state.fed)

    def _tensorize(self) -> Tensorized:
        assert self.results.drafted is not None
        return self.runner.tensorize(self.results.drafted, self.results.committed_len)

    def _verify(self) -> Verified:
        tensorized = self.results.tensorized
        assert tensorized is not None
        chosen = chosen_of_step(self.turn_state, len(tensorized.token_ids), None, self.runner.truth.teacher)
        rows = self.runner.verify(self.turn_state.committed, tensorized, chosen=chosen)[0]
        return verified_of(rows, tensorized, self.results.committed_len)

    def _accept(self) -> Accepted:
        tensorized, verified = self.results.tensorized, self.results.verified
        assert tensorized is not None
        assert verified is not None
        return accept_by(self.runner, tensorized, verified, self.turn_state.remaining, ()).accepted

    def _commit(self) -> Committed:
        assert self.results.accepted is not None
        length = self.results.committed_len
        after = length + len(self.results.accepted.accepted_nodes) + 1
        return Committed(committed_len=length, committed_len_after=after)


def verified_of(rows: TeacherRows, tensorized: Tensorized, committed_len: int) -> Verified:
    """Return the reference's rows of the N nodes of a tree as a result of verify; pads show nothing."""
    visible = rows.visible.cpu().numpy() & tensorized.valid[:, None]
    nodes = None if rows.routing is None else rows.routing.rows(-len(tensorized.valid))
    return Verified(
        visible=visible[:, committed_len:],
        prefix_visible=visible[:, :committed_len].sum(axis=1, dtype=np.int64),
        other_visible=np.zeros(len(tensorized.valid), dtype=np.int64),
        logits=rows.logits,
        target_token_ids=host_floats(rows.logits).argmax(-1),
        features=rows.features,
        kernel="reference",
        expert_ids=None if nodes is None else nodes.own_ids().cpu().numpy(),
    )


def run_reference_step(runner: ReferenceRunner, turn_state: FedTurnState, committed_len: int) -> StepResults:
    """Run a whole step on the reference."""
    results = StepResults(committed_len=committed_len)
    fill = ReferenceFill(runner, turn_state, results)
    run_step(PathUnderTest(LACKING, None), turn_state.remaining, fill)
    return results
