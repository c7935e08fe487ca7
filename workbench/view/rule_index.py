"""The index of every rule that a finding can name: invariants, comparisons, guards and operator contracts.

It is data, so that reading it needs neither torch nor the rules; `pages.rules` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

INDEX: Final = Path(__file__).with_suffix(".json")
RuleKind = Literal["invariant", "comparison", "guard", "operator"]


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """What is known of one rule.

    Attributes:
        id: As findings name it.
        name: Name of the defect; the operator that an operator rule is about.
        kind: Who judges by it: the invariants, a comparison of two paths, a guard, or an operator's contract.
        stage: Stage that produced what it reads, or `any`.
        scope: `step`, `turn`, `launch` or `run`.
        severity: `error` or `warning`.
        summary: One line.
        facts: Lines on what it reads and where it runs, Markdown.
        body: The rest of its documentation, Markdown.
    """

    id: str
    name: str
    kind: RuleKind
    summary: str
    body: str
    stage: str = "any"
    scope: str = "step"
    severity: str = "error"
    facts: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Id and name."""
        return f"{self.id} {self.name}"

    @property
    def text(self) -> str:
        """The whole page, Markdown."""
        parts = (f"# {self.title}", self.summary, "\n".join(self.facts), self.body)
        return "\n\n".join(part for part in parts if part) + "\n"


@cache
def rule_index() -> Mapping[str, RuleEntry]:
    """Return every rule by id: invariants first, then comparisons, guards and operator contracts."""
    entries = json.loads(INDEX.read_text("utf-8"))
    return {entry["id"]: RuleEntry(**{**entry, "facts": tuple(entry["facts"])}) for entry in entries}


def rule_title(rule_id: str) -> str:
    """Return id and name of a rule; the id alone where the index lacks it."""
    entry = rule_index().get(rule_id)
    return rule_id if entry is None else entry.title
