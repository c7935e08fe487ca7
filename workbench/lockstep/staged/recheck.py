"""After a finding: the path repeats the stage on a copy, and tries the disputed row in two other ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from reference.tensorize import tensorize
from tracing.finding import Finding
from tracing.stages import Drafted, NullWatch, Tensorized, Verified
from workbench.judge.ancestry import ancestors
from workbench.judge.repeat import before_blame, with_stale
from workbench.judge.step import StepJudgement
from workbench.judge.triangle import triangle
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.staged.repeats import Passes, Repeats
from workbench.lockstep.tensors.host import host_floats

ROWS: Final = frozenset({"verify.kv", "verify.features"})
"""Rows behind logits: where they are compared and right, the cache is not at fault."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """Runs the path under test again before a finding blames it.

    Attributes:
        repeats: Runs its stages on copies of its state; None when that cannot be copied.
    """

    repeats: Repeats | None

    def at(self, judgement: StepJudgement, truth: Any, passes: Passes) -> StepJudgement:
        """Return the judgement with unsteady and stale stages marked and the disputed row explained.

        Args:
            judgement: With at least one finding.
            truth: Logits of the truth, `[N, V]`, or None.
            passes: Whether other results of a stage would have been right.
        """
        if self.repeats is None:
            return judgement
        first = next(finding for finding in judgement.findings if finding.severity == "error")
        repeat, stale = self.repeats.of(first.moment.stage, passes)
        findings = judgement.findings
        if stale:
            findings = with_stale(findings, first, stale)
        else:
            findings = before_blame(findings, repeat.findings)
            disputed = first.column == "logits" and first.moment.node is not None and truth is not None
            if disputed and not repeat.findings:
                rows_agree = set(judgement.checked) - {f"verify.{each.column}" for each in findings} >= ROWS
                sentence = self._triangle(self.repeats, first, truth, rows_agree=rows_agree)
                message = f"{first.message}; {sentence}" if sentence else first.message
                findings = tuple(
                    replace(each, message=message) if each is first else each for each in findings
                )
        return replace(
            judgement,
            findings=findings,
            checked=judgement.checked + repeat.checked,
            not_checked=judgement.not_checked + repeat.not_checked,
        )

    def _triangle(self, repeats: Repeats, first: Finding, truth: Any, *, rows_agree: bool) -> str:
        tensorized, verified = repeats.results.tensorized, repeats.results.verified
        under_test = repeats.before
        if tensorized is None or verified is None or first.moment.node is None:
            return ""
        if not (under_test.provides("prefill") and under_test.provides("verify")):
            return ""
        path = [*ancestors(tensorized.parents, first.moment.node)[::-1], first.moment.node]
        tokens = [*repeats.turn_state.committed, *tensorized.token_ids[path].tolist()]
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


def one_node(token_id: int, committed_len: int) -> Tensorized:
    """Return the arrays of a tree that is only its root."""
    root = Drafted(
        token_ids=np.array([token_id]), parents=np.zeros(1, np.int64), logprobs=np.zeros(1, np.float32)
    )
    return tensorize(root, committed_len, tree_nodes=1)
