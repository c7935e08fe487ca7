"""One function judges a recorded step, from memory or from disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tracing.moment import STAGES
from workbench.judge.accept import judge_accept
from workbench.judge.allowance import check_dtype
from workbench.judge.commit import judge_commit
from workbench.judge.coverage import count_step
from workbench.judge.draft import judge_draft
from workbench.judge.evidence import StepEvidence
from workbench.judge.notes import NearTie, Notes, StageJudgement
from workbench.judge.prefill import judge_prefill
from workbench.judge.row_findings import OVERFLOWS
from workbench.judge.tensorize import judge_tensorize
from workbench.judge.verify import judge_verify

SAMPLED: Final = frozenset({"prefill", "draft", "verify"})
"""Stages whose rows are judged by samples of the reference."""


@dataclass(frozen=True, slots=True)
class StepJudgement(StageJudgement):
    """Judgement of one step, its stages joined; `NearTie.emitted` is set where the token reached the user.

    Attributes:
        coverage: Counters of `coverage.COUNTERS`.
    """

    coverage: Counter[str] = field(default_factory=Counter)

    @property
    def suspects(self) -> frozenset[str]:
        """Stages that more samples may clear: something was found, or a sample overflowed."""
        found = {finding.moment.stage for finding in self.findings}
        overflowed = {each.stage for each in self.not_checked if each.reason.endswith(OVERFLOWS)}
        return SAMPLED & (found | overflowed)


def judge_step(evidence: StepEvidence) -> StepJudgement:
    """Judge every stage that was recorded and list those that were not.

    Raises:
        UsageError: The dtype is unknown, or the reference's own arrays do not fit together.
    """
    check_dtype(evidence.dtype)
    parts = [judge_stage(evidence, stage) for stage in STAGES]
    near_ties = tuple(_mark_emitted(evidence, near_tie) for part in parts for near_tie in part.near_ties)
    return StepJudgement(
        findings=tuple(finding for part in parts for finding in part.findings),
        near_ties=near_ties,
        checked=tuple(quantity for part in parts for quantity in part.checked),
        not_checked=tuple(missing for part in parts for missing in part.not_checked),
        hidden={quantity: each for part in parts for quantity, each in part.hidden.items()},
        coverage=count_step(evidence, near_ties),
    )


def judge_stage(evidence: StepEvidence, stage: str) -> StageJudgement:
    """Judge one stage of a step, e.g. again once an arbiter is known."""
    notes = Notes(evidence.moment, stage, evidence.dtype)
    part = getattr(evidence, stage)
    if part is not None:
        _JUDGES[stage](notes, part)
        notes.explain(evidence.missing.get(stage))
    elif stage == "prefill" and evidence.moment.step > 0:
        pass  # once a turn
    elif stage in evidence.missing:
        notes.skip("*", evidence.missing[stage])
    else:
        notes.lacks("*")
    return notes.judgement()


def joined(judgement: StepJudgement, more: StageJudgement) -> StepJudgement:
    """Return the judgement of a step with what else was found, checked and not checked in it."""
    return replace(
        judgement,
        findings=judgement.findings + more.findings,
        checked=judgement.checked + more.checked,
        not_checked=judgement.not_checked + more.not_checked,
    )


_JUDGES: Final[dict[str, Callable[[Notes, Any], None]]] = {
    "prefill": judge_prefill,
    "draft": judge_draft,
    "tensorize": judge_tensorize,
    "verify": judge_verify,
    "accept": judge_accept,
    "commit": judge_commit,
}


def _mark_emitted(evidence: StepEvidence, near_tie: NearTie) -> NearTie:
    """Set `emitted` where the different choice decided an emitted token: the root, or after a path node."""
    if near_tie.kind in ("root", "acceptance") or (
        near_tie.kind == "draw" and near_tie.moment.stage != "draft"
    ):
        return replace(near_tie, emitted=True)
    accept = evidence.accept
    if near_tie.kind != "choice" or accept is None or accept.fused is None or not accept.is_greedy:
        return near_tie
    path = {0, *accept.fused.accepted_nodes.tolist()}
    return replace(near_tie, emitted=near_tie.moment.node in path)
