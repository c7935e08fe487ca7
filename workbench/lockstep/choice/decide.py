"""The choice itself: a function of policy, measurements and facts of a request, and of nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.lockstep.choice.facts import PromptFacts
from workbench.lockstep.choice.measured import Measurements
from workbench.lockstep.choice.policy import Policy, PolicyChoice


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one choice promises for a request.

    Attributes:
        choice: Its name.
        accepted: Draft tokens a step.
        step_seconds: Time of a step.
        tokens_per_second: Of the whole request, its prompt included.
    """

    choice: str
    accepted: float
    step_seconds: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What a request is decoded with, and why.

    Attributes:
        choice: Name of the choice.
        rule: Name of the rule that held.
        facts: What was known of the request.
        forecasts: Of all that were compared, best first.
        reasons: The same in sentences.
    """

    choice: str
    rule: str
    facts: PromptFacts
    forecasts: tuple[Forecast, ...]
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "choice": self.choice,
            "rule": self.rule,
            "facts": self.facts.as_json(),
            "tokens_per_second": {each.choice: each.tokens_per_second for each in self.forecasts},
            "reasons": list(self.reasons),
        }


def decide(
    policy: Policy,
    measured: Measurements,
    settings: Mapping[str, DecodeSettings],
    facts: PromptFacts,
    left_out: Mapping[str, str],
) -> Decision:
    """Return the choice for a request.

    Args:
        policy: The table.
        measured: Costs and acceptance so far.
        settings: Of each choice that can be taken, by name, in the policy's order.
        facts: Of the request.
        left_out: Choices that cannot be taken here, and why.

    Raises:
        UsageError: The rule that holds leaves no choice.
    """
    rule = policy.rule_for(facts)
    among = rule.among or tuple(policy.choices)
    forecasts = [
        _forecast(policy.choices[name], measured, settings[name], rule.name, facts)
        for name in policy.choices
        if name in among and name in settings
    ]
    if not forecasts:
        why = "; ".join(f"{name}: {left_out[name]}" for name in among if name in left_out)
        raise UsageError(f"rule {rule.name!r} of the policy leaves no choice ({why})")
    ranked = sorted(forecasts, key=lambda each: -each.tokens_per_second)
    best = ranked[0]
    said = [rule.why(facts)]
    said += [
        f"{each.choice}: {each.accepted:.2f} accepted in {1e3 * each.step_seconds:.2f} ms a step, "
        f"{each.tokens_per_second:.1f} tokens/s"
        for each in ranked
    ]
    said += [f"{name} left out: {left_out[name]}" for name in among if name in left_out]
    return Decision(best.choice, rule.name, facts, tuple(ranked), tuple(said))


def _forecast(
    choice: PolicyChoice, measured: Measurements, settings: DecodeSettings, rule: str, facts: PromptFacts
) -> Forecast:
    """Return what a choice promises; of equals the first in the policy is taken, as sorting is stable."""
    costs = measured.costs[choice.name]
    accepted, alone, _ = measured.expected(choice.name, rule) or (choice.accepted or 0.0, 0.0, 0)
    step = costs.steps.step(settings, alone)
    tokens = settings.max_new_tokens
    seconds = costs.prompt_token * facts.prompt_tokens + step * (tokens - 1) / (accepted + 1)
    return Forecast(choice.name, accepted, step, tokens / max(seconds, 1e-9))


def fitted(settings: DecodeSettings, proposer: str, sizes: Collection[int] | None) -> DecodeSettings | None:
    """Return settings whose launches all have a captured number of rows; None where there are none.

    A tree that may be smaller is cut to the largest captured size; a static one is padded to the next. A
    lookup that finds nothing launches one row, so it needs that size too.

    Args:
        settings: As wished.
        proposer: Kind of drafter.
        sizes: Numbers of rows that the path has compiled graphs for; None where it has none to keep to.
    """
    if sizes is None or (settings.tree_nodes in sizes and (proposer != "lookup" or 1 in sizes)):
        return settings
    if proposer == "lookup" and 1 not in sizes:
        return None
    if proposer == "medusa":
        fits = min((size for size in sizes if size >= settings.tree_nodes), default=None)
    else:
        fits = max((size for size in sizes if 2 <= size <= settings.tree_nodes), default=None)
    return None if fits is None else replace(settings, tree_nodes=fits)
