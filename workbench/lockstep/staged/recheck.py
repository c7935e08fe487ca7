"""After a finding: the path repeats the stage on a copy, and tries the disputed row in two other ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reference.tensorize import tensorize
from tracing.finding import Finding
from tracing.stages import Drafted, NullWatch, Tensorized, Verified
from workbench.judge.ancestry import ancestors
from workbench.judge.notes import StageJudgement, Unchecked
from workbench.judge.repeat import before_blame, judge_repeat
from workbench.judge.step import StepJudgement
from workbench.judge.triangle import triangle
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults
from workbench.lockstep.tensors.host import host_floats


@dataclass(frozen=True, slots=True)
class Recheck:
    """Runs the path under test again before a finding blames it.

    Attributes:
        before: The path under test as it stood before the step; None when its state cannot be copied.
        turn_state: Values that the step was fed.
        results: What the step gave the first time.
    """

    before: PathUnderTest | None
    turn_state: TurnState
    results: StepResults

    def at(self, judgement: StepJudgement, truth: Any) -> StepJudgement:
        """Return the judgement with unsteady stages marked and the disputed row explained.

        Args:
            judgement: With at least one finding.
            truth: Logits of the truth, `[N, V]`, or None.
        """
        if self.before is None:
            return judgement
        first = next(finding for finding in judgement.findings if finding.severity == "error")
        repeat = self._repeat(first)
        findings = before_blame(judgement.findings, repeat.findings)
        disputed = first.column == "logits" and first.moment.node is not None and truth is not None
        if disputed and not repeat.findings:
            wrong = {f"verify.{each.column}" for each in judgement.findings}
            rows_agree = {"verify.kv", "verify.features"} <= set(judgement.checked) - wrong
            sentence = self._triangle(first, truth, rows_agree=rows_agree)
            message = f"{first.message}; {sentence}" if sentence else first.message
            findings = tuple(replace(each, message=message) if each is first else each for each in findings)
        return replace(
            judgement,
            findings=findings,
            checked=judgement.checked + repeat.checked,
            not_checked=judgement.not_checked + repeat.not_checked,
        )

    def _repeat(self, first: Finding) -> StageJudgement:
        """Run the stages up to the finding's once more on a copy of the state before the step."""
        moment, stage = first.moment, first.moment.stage
        values = REPEATED.get(stage, ())
        copy = self.before.snapshot() if self.before is not None and values else None
        if copy is None or not all(copy.provides(each) for each in values):
            return StageJudgement()
        again = StepResults(committed_len=self.results.committed_len, tensorized=self.results.tensorized)
        try:
            if "draft" in values:
                again.drafted = copy.call("draft")
            if "verify" in values:
                # A path that writes into its arguments must not write into what is being judged.
                again.verified = copy.call("verify", deepcopy(self.results.tensorized))
        except Exception as error:  # noqa: BLE001  a user's port may raise anything when it runs again
            missing = Unchecked(stage, "repeat", f"the path raised {type(error).__name__}: {error}")
            return StageJudgement(not_checked=(missing,))
        one, other = _values(stage, self.results), _values(stage, again)
        return judge_repeat(moment, stage, "fused", one, other)

    def _triangle(self, first: Finding, truth: Any, *, rows_agree: bool) -> str:
        tensorized, verified = self.results.tensorized, self.results.verified
        under_test = self.before
        if tensorized is None or verified is None or under_test is None or first.moment.node is None:
            return ""
        if not (under_test.provides("prefill") and under_test.provides("verify")):
            return ""
        path = [*ancestors(tensorized.parents, first.moment.node)[::-1], first.moment.node]
        tokens = [*self.turn_state.committed, *tensorized.token_ids[path].tolist()]
        try:
            alone = self._row_alone(under_test, tokens)
            again = PathUnderTest.begin(under_test.path, NullWatch(), user_code=under_test.user_code)
            reprefill = host_floats(again.call("prefill", tokens).logits)
        except Exception:  # noqa: BLE001  a port that cannot run one row alone leaves the finding unexplained
            return ""
        return triangle(
            packed=host_floats(verified.logits)[first.moment.node],
            alone=alone,
            reprefill=reprefill,
            truth=host_floats(truth)[first.moment.node],
            allowance=first.allowance or 0.0,
            rows_agree=rows_agree,
        )[1]

    def _row_alone(self, under_test: PathUnderTest, tokens: Sequence[int]) -> Any:
        """Feed the last token as the only node over a fresh prefill of everything before it."""
        fresh = PathUnderTest.begin(under_test.path, NullWatch(), user_code=under_test.user_code)
        fresh.call("prefill", list(tokens[:-1]))
        verified: Verified = fresh.call("verify", one_node(int(tokens[-1]), len(tokens) - 1))
        return host_floats(verified.logits)[0]


REPEATED: Mapping[str, tuple[str, ...]] = {"draft": ("draft",), "verify": ("draft", "verify")}
"""Stages that are run again for a finding of a stage; the others compute nothing in floats."""


def _values(stage: str, results: StepResults) -> dict[str, Any]:
    if stage == "draft" and results.drafted is not None:
        drafted = results.drafted
        scores = {} if drafted.logprobs is None else {"logprobs": drafted.logprobs}
        return {"token_ids": drafted.token_ids, "parents": drafted.parents} | scores
    if results.verified is not None and results.tensorized is not None:
        valid = results.tensorized.valid
        tensors = {"logits": results.verified.logits, "features": results.verified.features}
        return {name: host_floats(rows)[valid] for name, rows in tensors.items() if rows is not None}
    return {}


def one_node(token_id: int, committed_len: int) -> Tensorized:
    """Return the arrays of a tree that is only its root."""
    root = Drafted(
        token_ids=np.array([token_id]), parents=np.zeros(1, np.int64), logprobs=np.zeros(1, np.float32)
    )
    return tensorize(root, committed_len, tree_nodes=1)
