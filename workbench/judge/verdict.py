"""From steps to the run: one verdict, one exit code, and what was never exercised or checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from tracing.finding import Finding
from workbench.judge.coverage import COUNTERS, REQUIRED, not_exercised
from workbench.judge.experts import OTHERS
from workbench.judge.hidden import Hidden, joined
from workbench.judge.notes import NearTie, Unchecked
from workbench.judge.share import LEAST, Part, Share
from workbench.judge.step import StepJudgement

WORST_FIRST: Final = ("structural", "nondeterministic", "numeric")
"""Which verdict a run with several independent findings has."""
EXIT_CODES: Final = {
    "ok": 0,
    "near_tie": 0,
    "numeric": 1,
    "structural": 1,
    "nondeterministic": 1,
    "inconclusive": 4,
}
"""Verdict to exit code."""


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """Verdict of a whole run.

    Attributes:
        verdict: One of `tracing.finding.VERDICTS`.
        exit_code: 0 ok and near_tie, 1 findings, 4 inconclusive.
        text: The verdict for a person, with what qualifies it.
        first_divergence: The first independent finding, or None.
        num_findings, num_consequences: Independent errors; later ones they may have caused.
        near_ties: All proven near ties.
        routing_near_ties: Those among them that are choices of experts.
        coverage: Every counter of `coverage.COUNTERS`, zeros included.
        not_exercised: Names of the counters that are zero.
        checked: `stage.quantity` to the number of steps in which it was compared.
        not_checked: What was not compared, with its reason, to the number of steps.
        hidden: `stage.quantity` to the gap that could have hidden in it.
        share: What the verdict rests on; None where the caller does not know.
    """

    verdict: str
    exit_code: int
    text: str
    first_divergence: Finding | None
    num_findings: int
    num_consequences: int
    near_ties: int
    routing_near_ties: int
    coverage: dict[str, int]
    not_exercised: tuple[str, ...]
    checked: dict[str, int]
    not_checked: dict[Unchecked, int]
    hidden: dict[str, Hidden] = field(default_factory=dict)
    share: Share | None = None

    @property
    def remark(self) -> str:
        """What qualifies the verdict; may be empty."""
        return self.text.removeprefix(self.verdict).removeprefix(" (").removesuffix(")")


@dataclass(slots=True)
class Tally:
    """Folds step after step; its size does not grow with the length of the run.

    Attributes:
        chain: True for a run with top_k 1, whose trees cannot branch.
    """

    chain: bool = False
    _coverage: Counter[str] = field(default_factory=Counter)
    _checked: Counter[str] = field(default_factory=Counter)
    _not_checked: Counter[Unchecked] = field(default_factory=Counter)
    _hidden: dict[str, Hidden] = field(default_factory=dict)
    _verdicts: Counter[str] = field(default_factory=Counter)
    _consequences: int = 0
    _near_ties: int = 0
    _routing: int = 0
    _emitted: int = 0
    _first: Finding | None = None
    _classes: set[str] = field(default_factory=set)
    _stage: tuple[int, ...] = ()

    def add(self, judgement: StepJudgement) -> None:
        """Add one judged step; its findings should have been marked by a `FindingsLog`."""
        self._coverage.update(judgement.coverage)
        self._checked.update(judgement.checked)
        self._not_checked.update(judgement.not_checked)
        self._hidden = joined(self._hidden, judgement.hidden)
        self.add_findings(judgement.findings)
        self.add_near_ties(judgement.near_ties)

    def add_findings(self, findings: tuple[Finding, ...]) -> None:
        """Add findings from elsewhere (an invariant, an operator's contract, a repeat)."""
        for finding in findings:
            if finding.severity != "error":
                continue
            stage = (*finding.moment.place, finding.moment.stage_number)
            if finding.consequence:
                self._consequences += 1
                if stage == self._stage:  # how wrong the stage is, is told by all that it gave
                    self._classes.add(finding.verdict)
                continue
            self._verdicts[finding.verdict] += 1
            self._classes.add(finding.verdict)
            self._stage = stage
            if self._first is None:
                self._first = finding

    def recount(self, findings: Iterable[Finding]) -> None:
        """Count all findings anew, because an earlier one is known now."""
        self._verdicts, self._classes = Counter(), set()
        self._consequences, self._first, self._stage = 0, None, ()
        self.add_findings(tuple(findings))

    def add_near_ties(self, near_ties: tuple[NearTie, ...]) -> None:
        """Add proven near ties; their coverage counters come with the step."""
        self._near_ties += len(near_ties)
        self._routing += sum(near_tie.kind == "expert" for near_tie in near_ties)
        self._emitted += sum(near_tie.emitted for near_tie in near_ties)

    def verdict(self, share: Share | None = None) -> RunVerdict:
        """Return the verdict of what was added so far, and of what share of the run that is."""
        verdict, text = self._decide(share)
        return RunVerdict(
            verdict=verdict,
            exit_code=EXIT_CODES[verdict],
            text=text,
            first_divergence=self._first,
            num_findings=sum(self._verdicts.values()),
            num_consequences=self._consequences,
            near_ties=self._near_ties,
            routing_near_ties=self._routing,
            coverage={name: self._coverage[name] for name in COUNTERS},
            not_exercised=not_exercised(self._coverage),
            checked=dict(self._checked),
            not_checked=dict(self._not_checked),
            hidden=dict(self._hidden),
            share=share,
        )

    @property
    def num_judged(self) -> int:
        """Steps that were judged."""
        return self._coverage["steps"]

    def stages(self, declared: Collection[str] | None = None) -> Part:
        """Return in how many stages something was compared, of those that gave anything to compare.

        Args:
            declared: The stages that the path has; all where not known.
        """
        looked = {quantity.partition(".")[0] for quantity in self._checked}
        given = looked | {
            missing.stage
            for missing in self._not_checked
            if missing.is_given and (declared is not None or missing.quantity != "*")
        }
        whole = given if declared is None else given.intersection(declared)
        return Part(len(looked & whole), len(whole))

    def _decide(self, share: Share | None) -> tuple[str, str]:
        """Return the verdict and its text: findings, then inconclusive, then near ties, then ok."""
        for verdict in WORST_FIRST:
            if verdict in self._classes:
                return verdict, verdict
        if self._verdicts.total():
            return "structural", f"structural (finding with verdict {next(iter(self._verdicts))})"
        missing = "; ".join(filter(None, [self._missing(), share.why_not_ok() if share else ""]))
        rests_on = share.sentence if share else ""
        if missing:
            return "inconclusive", f"inconclusive ({'; '.join(filter(None, [missing, rests_on]))})"
        notes = "; ".join(filter(None, ["tree mask not exercised" if self.chain else "", rests_on]))
        note = f" ({notes})" if notes else ""
        if self._emitted:
            return "near_tie", f"near_tie{note}"
        return "ok", f"ok{note}"

    def _missing(self) -> str:
        """Return what could have happened and never did, or an empty string."""
        if not self._coverage["steps"]:
            return "no step was judged"
        if not self._checked:
            return "nothing was checked"
        unknown = sum(
            count
            for each, count in self._not_checked.items()
            if (each.stage, each.quantity) == ("verify", "target_token_ids") and OTHERS in each.reason
        )
        if unknown > (1 - LEAST) * self.num_judged:
            return f"in {unknown} of {self.num_judged} steps {OTHERS}: the path does not give its own"
        required = [name for name in REQUIRED if not (self.chain and name == "branches")]
        return ", ".join(f"no {name}" for name in required if not self._coverage[name])
