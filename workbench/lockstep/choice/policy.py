"""The policy of `--proposer auto`: one table in one file, which a user may replace. Its format is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from tracing.settings import DRAFT_SETTINGS, LOOKUP_SETTINGS, USUAL_TREE_NODES, DecodeSettings
from tracing.static_tree import static_tree
from workbench.lockstep.choice.facts import PromptFacts

MAIN: Final = "main"
"""The teacher of the command line."""
SHAPE: Final = ("tree_nodes", *(name for name in DRAFT_SETTINGS if name != "window"))
"""Settings that a choice may state."""
RANGES: Final = ("prompt_tokens", "overlap", "entropy")
"""Facts that a rule may bound."""


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """One way to decode a request.

    Attributes:
        name: As the trace and the screen show it.
        proposer: Kind of drafter.
        teacher: `main`, or a name of `Policy.teachers`.
        draft: The drafter's directory; None is that of the command line.
        shape: Settings of the draft; those that are left out are the usual ones of the kind.
        auto_tree: Whether the settings of the draft are those that `specwb bench` chose by measurement.
        accepted: Tokens that a step is expected to accept as long as nothing was measured.
    """

    name: str
    proposer: str
    teacher: str = MAIN
    draft: Path | None = None
    shape: Mapping[str, Any] = field(default_factory=dict)
    auto_tree: bool = False
    accepted: float | None = None

    def settings(self, base: DecodeSettings) -> DecodeSettings:
        """Return the settings of a run with this choice; what is not of the draft is that of `base`.

        Raises:
            UsageError: A setting that cannot be.
        """
        usual = USUAL_TREE_NODES.get(self.proposer, base.tree_nodes)
        if self.proposer == "medusa":
            usual = 1 + len(static_tree(self.shape.get("static_tree", DecodeSettings().static_tree)))
        kept = {name: getattr(base, name) for name in base.__dataclass_fields__ if name not in SHAPE}
        lookup = {name: getattr(base, name) for name in LOOKUP_SETTINGS}
        return DecodeSettings(**{**kept, **lookup, "tree_nodes": usual, **self.shape})


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One row of the table.

    Attributes:
        name: Of the row.
        ranges: Fact to least and most, either of which may be None.
        labels: Classes; empty where the class does not matter.
        among: Names of the choices that are compared; None is all.
    """

    name: str
    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    among: tuple[str, ...] | None = None

    def holds(self, facts: PromptFacts) -> bool:
        """Return whether every condition holds; a fact that nobody knows meets none."""
        if self.labels and facts.label not in self.labels:
            return False
        for name, (least, most) in self.ranges.items():
            value = getattr(facts, name)
            if value is None or not (least is None or value >= least) or not (most is None or value <= most):
                return False
        return True

    def why(self, facts: PromptFacts) -> str:
        """Return as a sentence what a rule that holds rests on."""
        met = [f"class {facts.label}"] if self.labels else []
        for name, (least, most) in self.ranges.items():
            bounds = " to ".join("any" if each is None else f"{each:g}" for each in (least, most))
            met.append(f"{name.replace('_', ' ')} {getattr(facts, name):.3g} is in {bounds}")
        return f"rule {self.name!r}: {', '.join(met) or 'for all the rest'}"


@dataclass(frozen=True, slots=True)
class LabelQuestion:
    """How a probe checkpoint is asked for the class of a request.

    Attributes:
        model: Its directory.
        before, after: Text around the prompt.
        labels: Label to the text whose first token stands for it.
        gate: Largest entropy over the labels, in nats, at which the best label is believed.
    """

    model: Path
    before: str
    after: str
    labels: Mapping[str, str]
    gate: float


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy.

    Attributes:
        choices: By name, in the order that decides between equals.
        rules: The first that holds decides; the last one always holds.
        teachers: Further teachers: name to directory.
        question: For a probe checkpoint, or None.
        ngram, last_tokens: Of the probes.
        source: The file, and what it says, for the manifest.
    """

    choices: Mapping[str, PolicyChoice]
    rules: Sequence[PolicyRule]
    teachers: Mapping[str, Path] = field(default_factory=dict)
    question: LabelQuestion | None = None
    ngram: int = 3
    last_tokens: int = 32
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asks_entropy(self) -> bool:
        """Whether a rule needs the entropy of the first token, which costs a forward."""
        return any("entropy" in rule.ranges for rule in self.rules)

    def rule_for(self, facts: PromptFacts) -> PolicyRule:
        """Return the first rule that holds."""
        return next(rule for rule in self.rules if rule.holds(facts))


def shipped_policy() -> Path:
    """Return the file of the policy that is used where none is given."""
    return Path(str(files("workbench.lockstep.choice").joinpath("policy.json")))
