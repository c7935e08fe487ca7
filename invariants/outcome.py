"""The outcome of one rule at one step: held, violated, or not checked and why."""

from __future__ import annotations

from dataclasses import dataclass

from tracing.finding import Finding


@dataclass(frozen=True, slots=True)
class Held:
    """The rule looked at the step and found nothing wrong.

    Attributes:
        rule: Rule id.
    """

    rule: str


@dataclass(frozen=True, slots=True)
class Violated:
    """The rule found something wrong.

    Attributes:
        rule: Rule id.
        findings: What and where, at least one.
    """

    rule: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class NotChecked:
    """The rule could not look, or there was nothing to look at; never a pass.

    Attributes:
        rule: Rule id.
        reason: One clause for a person, e.g. `column visible was not recorded`.
        missing: Names of the inputs that were not there.
        vacuous: There was nothing to look at; rules that wait for this one may run.
    """

    rule: str
    reason: str
    missing: tuple[str, ...] = ()
    vacuous: bool = False


Outcome = Held | Violated | NotChecked
