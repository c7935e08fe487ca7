"""One step of the path under test, stage by stage; the reference does what it lacks or may not launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tracing.errors import ContractError, LaunchRefusedError
from tracing.finding import Finding
from tracing.stages import Committed, DecodePath, Prefilled, Stages, Verified
from workbench.lockstep.digests import kv_row_digests
from workbench.lockstep.failures import finding_of_invalid_result, findings_of_failure
from workbench.lockstep.reference_runner import ReferenceRunner
from workbench.lockstep.stage_inputs import GIVEN, stage_input, written_into
from workbench.lockstep.stage_validation import InvalidStageResultError, validated
from workbench.lockstep.turn_state import TurnState
from workbench.lockstep.under_test import PathUnderTest, StepResults

AfterStage = Callable[[str], None]


class StageFailedError(Exception):
    """A stage of the path under test did not finish and the step ends here; not an error of ours.

    Attributes:
        stage: Which stage.
        findings: What it means.
    """

    def __init__(self, stage: str, findings: tuple[Finding, ...]) -> None:
        super().__init__(stage)
        self.stage = stage
        self.findings = findings


class _RefusedError(Exception):
    """A launch was refused and the step is to be finished on the reference's values."""


@dataclass(slots=True)
class Driver:
    """Drives the path under test through stages and fills in from the reference where it must.

    Attributes:
        under_test: The path under test.
        runner: The reference beside it.
        eager: Finish a step on the reference's values after a refused launch, instead of ending it.
        refused: Stage whose launch was refused in this step, or None.
        findings: What refused launches and stages that write into their inputs gave cause for, not yet
            taken over by the caller.
    """

    under_test: PathUnderTest
    runner: ReferenceRunner
    eager: bool = False
    refused: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def prefill(self, turn_state: TurnState, results: StepResults, prompt: list[int]) -> Prefilled:
        """Prefill the path under test; the reference follows with its own rows when it judges."""
        results.prefilled = self._stage(turn_state, results, "prefill", prompt)
        if results.prefilled is None:
            rows = self.runner.prefill(prompt)[0]
            root = int(rows.logits[-1].argmax())
            results.prefilled = Prefilled(
                context_token_ids=np.array([*prompt, root], dtype=np.int64),
                logits=rows.logits[-1],
                features=rows.features,
            )
        results.prefill_kv = self.under_test.rows("main", range(len(prompt)))
        return results.prefilled

    def take_findings(self) -> tuple[Finding, ...]:
        """Return and forget what was found while stages ran."""
        found = tuple(self.findings)
        self.findings.clear()
        return found

    def step(self, turn_state: TurnState, results: StepResults, after_stage: AfterStage) -> None:
        """Run draft to commit; `after_stage(stage)` is called when a stage has its result.

        After a refused launch `results` holds what the path gave until then, and `results.eager` the step.

        Raises:
            StageFailedError: A stage was refused or raised, and the step is not to be finished eagerly.
        """
        self.refused = None
        try:
            for stage, run in (
                ("draft", self._draft),
                ("tensorize", self._tensorize),
                ("verify", self._verify),
                ("accept", self._accept),
                ("commit", self._commit),
            ):
                run(turn_state, results)
                after_stage(stage)
        except _RefusedError:
            results.eager = self._eagerly(turn_state, results.committed_len)

    def _eagerly(self, turn_state: TurnState, committed_len: int) -> StepResults:
        """Do the whole step with the reference alone."""
        lacking = PathUnderTest(DecodePath(name="none", stages=Stages(), begin=lambda watch: watch), None)
        results = StepResults(committed_len=committed_len)
        alone = Driver(lacking, self.runner)
        alone.step(turn_state, results, _nobody_follows)
        return results

    def _draft(self, turn_state: TurnState, results: StepResults) -> None:
        results.drafted = self._stage(turn_state, results, "draft")
        if results.drafted is None:
            results.drafted = self.runner.free_draft(
                turn_state.committed, turn_state.root, turn_state.features
            )
        else:
            results.drafter_lengths = self.under_test.lengths("drafter")
        results.drafter_kv = self.under_test.rows("drafter", range(results.committed_len))

    def _tensorize(self, turn_state: TurnState, results: StepResults) -> None:
        results.tensorized = self._stage(turn_state, results, "tensorize")
        if results.tensorized is None:
            assert results.drafted is not None
            results.tensorized = self.runner.stages.tensorize(
                results.drafted, results.committed_len, self.runner.settings.tree_nodes
            )

    def _verify(self, turn_state: TurnState, results: StepResults) -> None:
        results.rows_before = self.under_test.main_rows()
        results.verified = self._stage(turn_state, results, "verify")
        tensorized = results.tensorized
        assert tensorized is not None
        if results.verified is not None:
            results.rows_verified = self.under_test.main_rows()
            num_nodes = len(tensorized.token_ids)
            tree = range(results.committed_len, results.committed_len + num_nodes)
            results.node_kv = self.under_test.rows("branch", tree)
            if results.node_kv is not None:
                results.branch_rows = kv_row_digests(results.node_kv)
            return
        rows = self.runner.verify(turn_state.committed, tensorized)[0]
        results.verified = Verified(
            visible=tensorized.visible,
            prefix_visible=np.where(tensorized.valid, results.committed_len, 0),
            other_visible=np.zeros(len(tensorized.valid), dtype=np.int64),
            logits=rows.logits,
            target_token_ids=rows.logits.argmax(-1).cpu().numpy(),
            features=rows.features,
            kernel="reference",
        )

    def _accept(self, turn_state: TurnState, results: StepResults) -> None:
        tensorized, verified = results.tensorized, results.verified
        assert tensorized is not None
        assert verified is not None
        remaining = turn_state.remaining
        results.accepted = self._stage(turn_state, results, "accept", remaining)
        if results.accepted is None:
            eos = self.runner.truth.pair.eos_token_ids
            results.accepted = self.runner.stages.accept(
                tensorized, verified.target_token_ids, remaining, eos
            )

    def _commit(self, turn_state: TurnState, results: StepResults) -> None:
        tensorized, accepted = results.tensorized, results.accepted
        assert tensorized is not None
        assert accepted is not None
        results.committed = self._stage(turn_state, results, "commit")
        if results.committed is None:
            length = results.committed_len
            results.committed = Committed(
                committed_len=length,
                committed_len_after=length + len(accepted.accepted_nodes) + 1,
            )
        else:
            results.rows_after = self.under_test.main_rows()
            results.lengths_after = self.under_test.lengths("main")
        nodes = np.array([0, *accepted.accepted_nodes.tolist()], dtype=np.int64)
        if nodes.min() < 0 or nodes.max() >= len(tensorized.token_ids):
            # Judged as what it is on a judged step; here it only cannot be followed any further.
            invalid = InvalidStageResultError(
                "accepted_nodes", f"nodes 0..{len(tensorized.token_ids) - 1}", str(nodes[1:].tolist())
            )
            raise StageFailedError("accept", (finding_of_invalid_result(turn_state, "accept", invalid),))
        self.runner.commit(nodes, tensorized.token_ids[nodes].tolist())

    def _stage(self, turn_state: TurnState, results: StepResults, stage: str, *more: Any) -> Any:
        """Run a stage of the path under test on the results before it; None when the reference has to do it.

        Raises:
            StageFailedError: It was refused and the step is not to be finished eagerly, it raised, or it
                gave what is no result of that stage.
            _RefusedError: It was refused, and the step is to be finished eagerly.
        """
        if not self.under_test.provides(stage):
            results.filled_by_reference.add(stage)
            return None
        arguments = [stage_input(results, giver) for giver in GIVEN.get(stage, ())]
        try:
            given = self.under_test.run(results, stage, *arguments, *more)
            sizes = self._sizes(results)
            self.findings.extend(written_into(stage, turn_state.moment, results, sizes))
            results.inputs[stage] = given
            return validated(stage, given, sizes)
        except InvalidStageResultError as invalid:
            raise StageFailedError(
                stage, (finding_of_invalid_result(turn_state, stage, invalid),)
            ) from invalid
        except (LaunchRefusedError, ContractError) as error:
            found = findings_of_failure(turn_state, stage, error)
            if not self.eager or stage == "prefill":
                raise StageFailedError(stage, found) from error
            self.findings.extend(found)
            self.refused = stage
            raise _RefusedError from error
        except (KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:
            # A user's own port may raise anything: that is a finding about it, never a crash of ours.
            raise StageFailedError(stage, findings_of_failure(turn_state, stage, error)) from error

    def _sizes(self, results: StepResults) -> dict[str, int]:
        """Return the dimensions that every result of this step must have."""
        pair = self.runner.truth.pair
        return {
            "L": results.committed_len,
            "N": self.runner.settings.tree_nodes,
            "V": pair.teacher.vocab_size,
            "F": len(pair.drafter.aux_layers) * pair.teacher.hidden_size,
        }


def _nobody_follows(_stage: str) -> None:
    """The reference's own step is not judged: it would be compared with itself."""
