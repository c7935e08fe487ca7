"""One function judges a recorded step, from memory or from disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tracing.finding import Finding
from tracing.moment import STAGES
from workbench.judge.accept import judge_accept
from workbench.judge.allowance import check_dtype
from workbench.judge.commit import judge_commit
from workbench.judge.coverage import count_step
from workbench.judge.draft import judge_draft
from workbench.judge.evidence import StepEvidence
from workbench.judge.notes import NearTie, StageJudgement, Unchecked
from workbench.judge.prefill import judge_prefill
from workbench.judge.tensorize import judge_tensorize
from workbench.judge.verify import judge_verify


@dataclass(frozen=True, slots=True)
class StepJudgement:
    """Judgement of one step.

    Attributes:
        evidence_moment: prompt, turn and step, as text.
        findings: Stage by stage, earliest cause first.
        near_ties: Proven near ties; `emitted` is set where the token reached the user.
        checked: `stage.quantity` of everything compared.
        not_checked: Everything not compared, with the reason.
        coverage: Counters of `coverage.COUNTERS`.
    """

    evidence_moment: str
    findings: tuple[Finding, ...] = ()
    near_ties: tuple[NearTie, ...] = ()
    checked: tuple[str, ...] = ()
    not_checked: tuple[Unchecked, ...] = ()
    coverage: Counter[str] = field(default_factory=Counter)


def judge_step(evidence: StepEvidence) -> StepJudgement:
    """Judge every stage that was recorded and list those that were not.

    Raises:
        UsageError: The dtype is unknown, or the reference's own arrays do not fit together.
    """
    check_dtype(evidence.dtype)
    parts = [judge_stage(evidence, stage) for stage in STAGES]
    near_ties = tuple(_mark_emitted(evidence, near_tie) for part in parts for near_tie in part.near_ties)
    return StepJudgement(
        evidence_moment=str(evidence.moment),
        findings=tuple(finding for part in parts for finding in part.findings),
        near_ties=near_ties,
        checked=tuple(quantity for part in parts for quantity in part.checked),
        not_checked=tuple(missing for part in parts for missing in part.not_checked),
        coverage=count_step(evidence, near_ties),
    )


def judge_stage(evidence: StepEvidence, stage: str) -> StageJudgement:
    """Judge one stage of a step, e.g. again once an arbiter is known."""
    judgement = _JUDGES[stage](evidence)
    if judgement is not None:
        return judgement
    if stage == "prefill" and evidence.moment.step > 0:
        return StageJudgement()
    reason = evidence.missing.get(stage, "the path does not provide it")
    return StageJudgement(not_checked=(Unchecked(stage, "*", reason),))


def _prefill(evidence: StepEvidence) -> StageJudgement | None:
    part = evidence.prefill
    return None if part is None else judge_prefill(part, evidence.moment, evidence.dtype)


def _draft(evidence: StepEvidence) -> StageJudgement | None:
    part = evidence.draft
    return None if part is None else judge_draft(part, evidence.moment, evidence.dtype)


def _tensorize(evidence: StepEvidence) -> StageJudgement | None:
    part = evidence.tensorize
    return None if part is None else judge_tensorize(part, evidence.moment)


def _verify(evidence: StepEvidence) -> StageJudgement | None:
    part = evidence.verify
    return None if part is None else judge_verify(part, evidence.moment, evidence.dtype)


def _accept(evidence: StepEvidence) -> StageJudgement | None:
    part = evidence.accept
    return None if part is None else judge_accept(part, evidence.moment)


def _commit(evidence: StepEvidence) -> StageJudgement | None:
    part = evidence.commit
    return None if part is None else judge_commit(part, evidence.moment)


_JUDGES: dict[str, Callable[[StepEvidence], StageJudgement | None]] = {
    "prefill": _prefill,
    "draft": _draft,
    "tensorize": _tensorize,
    "verify": _verify,
    "accept": _accept,
    "commit": _commit,
}


def _mark_emitted(evidence: StepEvidence, near_tie: NearTie) -> NearTie:
    """Set `emitted` where the different choice decided an emitted token: the root, or after a path node."""
    if near_tie.kind == "root":
        return replace(near_tie, emitted=True)
    if near_tie.kind != "choice" or evidence.accept is None or evidence.accept.fused is None:
        return near_tie
    path = {0, *evidence.accept.fused.accepted_nodes.tolist()}
    return replace(near_tie, emitted=near_tie.moment.node in path)
