"""Notes of the judge of a stage: findings, near ties, what was checked and what could not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from tracing.finding import Finding
from tracing.moment import Moment
from workbench.judge.hidden import Hidden
from workbench.judge.rules import RULES

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NearTie:
    """A different choice that rounding explains: the row passes and the true gap is inside the allowance.

    Attributes:
        moment: Where, with stage and node.
        kind: `choice`, `root`, `candidate`, `beam`, `node` or `expert`.
        fused, reference: The two token ids (choice, root, candidate), flat candidate numbers (beam, node) or
            experts.
        gap: True score of the reference's choice minus that of the fused one.
        allowance: What the gap may be: twice the row's allowance, or the sum of both allowances.
        emitted: True when the fused choice became an emitted token.
    """

    moment: Moment
    kind: str
    fused: int
    reference: int
    gap: float
    allowance: float
    emitted: bool = False


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Something the judge did not compare.

    Attributes:
        stage: Stage.
        quantity: Column or quantity, or `*` for the whole stage.
        reason: Why, in words.
        is_given: False where a path or the reference does not give the value at all.
    """

    stage: str
    quantity: str
    reason: str
    is_given: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class StageJudgement:
    """The judgement of one stage, or of several joined.

    Attributes:
        findings: In order of judging; the first is the earliest cause.
        near_ties: Proven near ties.
        checked: `stage.quantity` of everything that was really compared.
        not_checked: Everything that was not, with the reason.
        hidden: `stage.quantity` to the gap that rows of it could have had without a finding.
    """

    findings: tuple[Finding, ...] = ()
    near_ties: tuple[NearTie, ...] = ()
    checked: tuple[str, ...] = ()
    not_checked: tuple[Unchecked, ...] = ()
    hidden: Mapping[str, Hidden] = field(default_factory=dict, kw_only=True)


@dataclass(slots=True)
class Notes:
    """Collects a stage's judgement while it is made.

    Attributes:
        moment: prompt, turn and step.
        stage: The stage being judged.
        dtype: The tested path's dtype.
    """

    moment: Moment
    stage: str
    dtype: str = "float32"
    findings: list[Finding] = field(default_factory=list)
    near_ties: list[NearTie] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    not_checked: list[Unchecked] = field(default_factory=list)
    hidden: dict[str, Hidden] = field(default_factory=dict)

    def finding(
        self,
        rule: str,
        column: str,
        message: str,
        *,
        guilty: str = "fused",
        node: int | None = None,
        fused: int | float | str | None = None,
        reference: int | float | str | None = None,
        allowance: float | None = None,
        gap: float | None = None,
        verdict: str = "",
    ) -> None:
        """Record one wrong thing; the verdict is the rule's unless given."""
        self.findings.append(
            Finding(
                verdict=verdict or RULES[rule].verdict,
                guilty=guilty,
                moment=self.moment.at(self.stage, node),
                column=column,
                fused=fused,
                reference=reference,
                allowance=allowance,
                gap=gap,
                rule=rule,
                message=message,
            )
        )

    def near_tie(
        self, kind: str, *, node: int | None, fused: int, reference: int, gap: float, allowance: float
    ) -> None:
        """Record one proven near tie."""
        where = self.moment.at(self.stage, node)
        self.near_ties.append(NearTie(where, kind, fused, reference, gap, allowance))

    def check(self, quantity: str) -> None:
        """Record that a quantity was compared."""
        self.checked[f"{self.stage}.{quantity}"] += 1

    def allow(self, quantity: str, allowances: Any, sizes: Any) -> None:
        """Record what the rows of a quantity may be off by, each `[R]`, and how large they are."""
        hidden = Hidden.of(quantity, np.asarray(allowances, np.float64), np.asarray(sizes, np.float64))
        if hidden is not None:
            self.hidden[f"{self.stage}.{quantity}"] = hidden

    def skip(self, quantity: str, reason: str) -> None:
        """Record that a quantity was not compared, and why."""
        self.not_checked.append(Unchecked(self.stage, quantity, reason))

    def lacks(self, quantity: str, reason: str = "the path does not provide it") -> None:
        """Record that a quantity was not compared because it is not given."""
        self.not_checked.append(Unchecked(self.stage, quantity, reason, is_given=False))

    def explain(self, reason: str | None) -> None:
        """Give one reason, if there is one, for everything that was not compared."""
        if reason is not None:
            self.not_checked = [replace(each, reason=reason) for each in self.not_checked]

    def has(self, *rules: str) -> bool:
        """Return whether one of these rules was violated so far."""
        return any(finding.rule in rules for finding in self.findings)

    def judgement(self) -> StageJudgement:
        """Return what was recorded."""
        found, ties = tuple(self.findings), tuple(self.near_ties)
        return StageJudgement(found, ties, tuple(self.checked), tuple(self.not_checked), hidden=self.hidden)


def first_few(wrong: Sequence[T], limit: int, rest: str) -> Iterator[tuple[T, str]]:
    """Yield the first of what is wrong, each with a tail for its message; the last tail counts the rest."""
    more = len(wrong) - limit
    for count, each in enumerate(wrong[:limit], start=1):
        yield each, f"; and {more} more {rest}" if more > 0 and count == limit else ""
