"""Rejudges a recorded run: each step's two rows by the stage functions that judge a live step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np

from invariants.catalogue import BY_ID
from tracing.finding import Finding
from tracing.manifest_facts import table
from tracing.moment import Moment
from tracing.path_reader import PathReader
from tracing.reader import Run
from workbench.judge.evidence import StepEvidence
from workbench.judge.log import FindingsLog
from workbench.judge.notes import NearTie
from workbench.judge.recorded.evidence import RecordedFacts, recorded_evidence
from workbench.judge.recorded.pairs import same_step
from workbench.judge.recorded.requests import named
from workbench.judge.recorded.upcoming import Foresighted, Upcoming, told_ahead
from workbench.judge.share import Part, Share
from workbench.judge.step import StepJudgement, judge_step
from workbench.judge.turn_state import TurnState, recorded_turns
from workbench.judge.verdict import RunVerdict, Tally

Row = Mapping[str, Any]
TAUTOLOGY: Final = "tensorize.visible"
"""Not really compared: the trace has `visible` as attention got it, which is verify's."""
NOT_HELD: Final = "not in the trace"
NO_REFERENCE: Final = "reference"
"""Quantity that is not checked where the reference cannot judge a step."""


class Judge(Protocol):
    """Judges one step; may be `Foresighted`."""

    def __call__(
        self, evidence: StepEvidence, row: Row, other: Row | None, state: TurnState, /
    ) -> StepJudgement:
        """Judge a step by its evidence, its row, the other path's row, and its turn before it."""
        ...


@dataclass(frozen=True, slots=True)
class StepRange:
    """Which steps to judge; all by default.

    Attributes:
        only: Prompt, turn and step of the only one, or None.
        steps: Step numbers of each turn, half open; None is open.
    """

    only: tuple[int, int, int] | None = None
    steps: tuple[int, int | None] = (0, None)

    def holds(self, place: tuple[int, int, int]) -> bool:
        """Whether a step is in it."""
        if self.only is not None:
            return place == self.only
        start, stop = self.steps
        return place[2] >= start and (stop is None or place[2] < stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejudged:
    """Result of rejudging.

    Attributes:
        verdict: Of the whole part.
        findings: In order of steps and stages.
        turns: Every turn, at its end.
        num_steps: Steps judged.
        num_left_out: Steps outside the part.
        num_compared: Steps judged in which something was compared.
    """

    verdict: RunVerdict
    findings: tuple[Finding, ...]
    turns: tuple[TurnState, ...]
    num_steps: int
    num_left_out: int
    num_compared: int


def rejudge(
    run: Run,
    *,
    under_test: str,
    facts: RecordedFacts,
    max_new_tokens: int | None,
    judge: Judge,
    known: Iterable[Finding],
    part: StepRange | None = None,
    paired: bool = True,
    lost: int = 0,
    unknown: tuple[str, ...] = (),
) -> Rejudged:
    """Rejudge the steps of a path.

    Args:
        run: The recorded run.
        under_test: The path to judge.
        facts: Facts of the run.
        max_new_tokens: Tokens that a turn may emit, or None where not known.
        judge: Judges one step.
        known: Findings of the invariants and of the recording's judge, to be logged with the new ones.
        part: Which steps; all when None.
        paired: Steps of the two paths correspond (staged lockstep); else each path decoded on its own outputs
            and the rows of the other path are not read.
        lost: Steps that are known to have been lost since they were recorded.
        unknown: Why the run may not be all that was to be recorded.

    Raises:
        TraceError: The run has no such path.
    """
    part = part or StepRange()
    path, others = run.path(under_test), _others(run, under_test) if paired else None
    waiting = _by_step(finding for finding in known if part.holds(finding.moment.place))
    log = FindingsLog(Tally())
    turns: dict[tuple[int, int], TurnState] = {}
    num_steps = num_left_out = num_compared = num_without_tree = 0
    branched = False

    def upcoming() -> Iterator[Upcoming]:
        for row, state in recorded_turns(path, max_new_tokens, facts.request_limits):
            turns[state.prompt_id, state.turn] = state
            if not part.holds(state.moment.place) or not _has_tree(row):
                yield Upcoming(row, state)
                continue
            other = _judged_step(others, state.moment)
            yield Upcoming(row, state, other, recorded_evidence(row, other, state, facts))

    for step in told_ahead(upcoming(), judge) if isinstance(judge, Foresighted) else upcoming():
        row, place = step.row, step.state.moment.place
        if row.get("context_token_ids") is not None:
            log.resync(place[:2])  # prefilled: its turn begins, or its caches were rebuilt
        if not part.holds(place):
            num_left_out += 1
            continue
        judgement = None
        if step.evidence is not None:
            judgement = _of_a_trace(judge(step.evidence, row, step.other, step.state))
        log.add(waiting.pop(place, ()), judgement)
        num_steps += judgement is not None
        num_compared += judgement is not None and _is_compared(judgement)
        num_without_tree += judgement is None and row.get("stop_reason") is None
        branched |= _branches(row)
    for place in sorted(waiting):
        log.add(waiting[place])
    log.tally.chain = not branched and _is_chain(run)
    steps = Part(num_compared, num_steps + num_left_out + num_without_tree + lost)
    return Rejudged(
        verdict=log.tally.verdict(Share(steps, log.tally.stages(), unknown=unknown)),
        findings=named(log.findings, run, under_test),
        turns=tuple(turns.values()),
        num_steps=num_steps,
        num_left_out=num_left_out,
        num_compared=num_compared,
    )


def _has_tree(row: Row) -> bool:
    return row.get("token_ids") is not None or row.get("parents") is not None


def _is_compared(judgement: StepJudgement) -> bool:
    """Whether anything was compared, and the reference, if asked, could answer."""
    return bool(judgement.checked) and NO_REFERENCE not in {each.quantity for each in judgement.not_checked}


def _of_a_trace(judgement: StepJudgement) -> StepJudgement:
    """Leave out what a trace cannot show; a value that the path did not provide is one not in the trace."""
    return replace(
        judgement,
        checked=tuple(quantity for quantity in judgement.checked if quantity != TAUTOLOGY),
        not_checked=tuple(
            each if each.is_given else replace(each, reason=NOT_HELD) for each in judgement.not_checked
        ),
    )


def judge_recorded(tie_gap: float | None = None, logit_gap: float | None = None) -> Judge:
    """Return a judge that has the trace alone.

    Args:
        tie_gap: What a different choice may cost in the other path's logits to pass as a near tie. None:
            it passes where the judge of the recording let it pass, having had whole rows.
        logit_gap: How far recorded logits of one token may differ; None: they are not compared.
    """
    from workbench.judge.recorded.choices import explained, gaps_beyond

    def judge(evidence: StepEvidence, row: Row, other: Row | None, _: TurnState) -> StepJudgement:
        near_ties: tuple[NearTie, ...] = ()
        if evidence.verify is not None and other is not None:
            verify, near_ties = explained(evidence.verify, row, other, evidence.moment, tie_gap)
            evidence = replace(evidence, verify=verify)
        judgement = judge_step(evidence)
        if logit_gap is not None and other is not None:
            more = gaps_beyond(row, other, evidence.moment, logit_gap)
            judgement = replace(judgement, findings=(*judgement.findings, *more))
        return replace(judgement, near_ties=(*judgement.near_ties, *near_ties))

    return judge


def recorded_findings(run: Run, factor: float = 1.0) -> list[Finding]:
    """Return what the judge of the recording found, with other allowances if asked.

    Args:
        run: The run.
        factor: Numeric findings stay whose gap is above `factor` times their allowance.
    """
    kept = (finding for finding in run.findings if finding.rule not in BY_ID)
    return [finding for finding in kept if not _allowed(finding, factor)]


def _allowed(finding: Finding, factor: float) -> bool:
    if finding.verdict != "numeric" or finding.gap is None or finding.allowance is None:
        return False
    return float(finding.gap) <= factor * float(finding.allowance)


def _others(run: Run, under_test: str) -> PathReader | None:
    names = [name for name in run.path_names if name != under_test]
    return run.path(names[0]) if names else None


def _judged_step(path: PathReader | None, moment: Moment) -> Row | None:
    """Return the other path's row of a step, if it has one that was judged."""
    row = None if path is None else same_step(path, moment)
    return None if row is None or row.get("token_ids") is None else row


def _branches(row: Row) -> bool:
    if row.get("parents") is None or row.get("valid") is None:
        return False
    parents = np.asarray(row["parents"])[1:][np.asarray(row["valid"], dtype=np.bool_)[1:]]
    return len(parents) != len(set(parents.tolist()))


def _is_chain(run: Run) -> bool:
    """Whether the drafter could not branch: by its settings, or, without settings, because it never did."""
    top_k = table(run.manifest, "settings").get("top_k")
    return top_k in (1, None)


def _by_step(findings: Iterable[Finding]) -> dict[tuple[int, int, int], list[Finding]]:
    found: dict[tuple[int, int, int], list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.moment.place, []).append(finding)
    return found
