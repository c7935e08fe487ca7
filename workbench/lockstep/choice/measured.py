"""What was measured of each choice of a policy on this machine: costs, and what its steps accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tracing.errors import UsageError
from workbench.lockstep.choice.costs import StepCosts

FORMAT: Final = "specwb-measured-1"
SHARED_STEPS: Final = 16
"""What a rule's own steps are weighed against: so many steps of the choice under all rules."""


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Steps that were counted; a step cut by the end of a turn is none.

    Attributes:
        steps: How many.
        accepted: Draft tokens that they accepted.
        alone: Those whose draft was the root alone.
    """

    steps: int = 0
    accepted: int = 0
    alone: int = 0

    def plus(self, other: StepCounts) -> StepCounts:
        """Return both together."""
        return StepCounts(self.steps + other.steps, self.accepted + other.accepted, self.alone + other.alone)


@dataclass(frozen=True, slots=True)
class ChoiceCosts:
    """Times of one choice in seconds.

    Attributes:
        steps: The model of a step.
        prompt_token: Prefill and the first draft, for each token of the prompt.
    """

    steps: StepCosts
    prompt_token: float

    def as_json(self) -> dict[str, Any]:
        """Return plain data, in seconds."""
        return {
            "token": self.steps.token,
            "prompt_token": self.prompt_token,
            "verify": {str(rows): seconds for rows, seconds in self.steps.verify.items()},
            "draft": {str(top_k): list(seconds) for top_k, seconds in self.steps.draft.items()},
        }

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> ChoiceCosts:
        """Return what `as_json` gave."""
        draft = {int(top_k): (float(first), float(level)) for top_k, (first, level) in held["draft"].items()}
        verify = {int(rows): float(seconds) for rows, seconds in held["verify"].items()}
        return cls(StepCosts(float(held["token"]), verify, draft), float(held["prompt_token"]))


@dataclass(slots=True)
class Measurements:
    """All that is measured; grows with what requests accept.

    Attributes:
        costs: By name of a choice.
        counts: By name of a choice and of a rule.
    """

    costs: Mapping[str, ChoiceCosts]
    counts: dict[str, dict[str, StepCounts]] = field(default_factory=dict)

    def take(self, choice: str, rule: str, counts: StepCounts) -> None:
        """Add the steps of a request."""
        of_choice = self.counts.setdefault(choice, {})
        of_choice[rule] = of_choice.get(rule, StepCounts()).plus(counts)

    def expected(self, choice: str, rule: str) -> tuple[float, float, int] | None:
        """Return accepted tokens a step, the share of steps with the root alone, and steps under the rule.

        A rule with few steps of its own leans on those of the choice under all rules. None: no step yet.
        """
        every = StepCounts()
        for counts in self.counts.get(choice, {}).values():
            every = every.plus(counts)
        if not every.steps:
            return None
        own = self.counts[choice].get(rule, StepCounts())
        weight = own.steps + SHARED_STEPS
        accepted = (own.accepted + SHARED_STEPS * every.accepted / every.steps) / weight
        alone = (own.alone + SHARED_STEPS * every.alone / every.steps) / weight
        return accepted, alone, own.steps

    def copy(self) -> Measurements:
        """Return a copy that grows by itself."""
        return replace(self, counts={choice: dict(rules) for choice, rules in self.counts.items()})

    def as_json(self) -> dict[str, Any]:
        """Return plain data for the manifest; times in seconds, so that they come back as they were."""
        return {
            "format": FORMAT,
            "costs": {name: costs.as_json() for name, costs in self.costs.items()},
            "counts": {
                choice: {
                    rule: {"steps": each.steps, "accepted": each.accepted, "alone": each.alone}
                    for rule, each in rules.items()
                }
                for choice, rules in self.counts.items()
            },
        }

    @classmethod
    def from_json(cls, held: Any, where: str) -> Measurements:
        """Return what `as_json` gave.

        Raises:
            UsageError: It is something else; `where` names the file.
        """
        try:
            if held["format"] != FORMAT:
                raise KeyError("format")
            costs = {str(name): ChoiceCosts.from_json(each) for name, each in held["costs"].items()}
            counts = {
                str(choice): {str(rule): StepCounts(**each) for rule, each in rules.items()}
                for choice, rules in held["counts"].items()
            }
            whole = (n for rules in counts.values() for one in rules.values() for n in _numbers(one))
            times = (seconds for one in costs.values() for seconds in _times(one))
            if not all(type(n) is int and 0 <= n < 1 << 40 for n in whole):
                raise ValueError("counts")
            if not all(0 <= seconds < 1e6 for seconds in times):
                raise ValueError("costs")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise UsageError(f"{where} holds no measured costs of format {FORMAT}") from None
        return cls(costs, counts)


def _numbers(counts: StepCounts) -> tuple[int, ...]:
    return counts.steps, counts.accepted, counts.alone


def _times(costs: ChoiceCosts) -> list[float]:
    steps = costs.steps
    if not steps.verify or not steps.draft or steps.token <= 0:
        raise ValueError("costs")
    drafts = [seconds for pair in steps.draft.values() for seconds in pair]
    return [steps.token, costs.prompt_token, *steps.verify.values(), *drafts]
