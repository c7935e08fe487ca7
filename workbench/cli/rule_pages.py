"""Every rule that a finding can name, from three catalogues, as pages to read in a terminal."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final

from invariants.catalogue import CATALOGUE
from invariants.docs import page
from tracing.errors import EnvironmentProblemError, UsageError
from workbench.cli.guard_pages import GUARDS
from workbench.judge.rules import RULES as JUDGE_RULES

OPERATOR_PREFIX: Final = "NPU"


@dataclass(frozen=True, slots=True)
class RulePage:
    """What is known of one rule.

    Attributes:
        id: As findings name it.
        name: Name of the defect, or the operator that an operator rule is about.
        kind: `invariant`, `comparison`, `guard` or `operator`.
        summary: One line.
        text: The whole page, Markdown.
    """

    id: str
    name: str
    kind: str
    summary: str
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@cache
def plain_pages() -> tuple[RulePage, ...]:
    """Return invariants, comparisons of the judge, then guards; needs no torch."""
    invariants = (
        RulePage(rule.id, rule.name, "invariant", rule.documentation.partition("\n")[0], page(rule))
        for rule in CATALOGUE
    )
    comparisons = (
        RulePage(
            rule_id,
            rule.name,
            "comparison",
            rule.sentence,
            f"# {rule_id} {rule.name}\n\nWhat must hold: {rule.sentence}\n\n"
            f"A violation has the verdict `{rule.verdict}`. Made by `specwb diff` and `specwb replay`.\n",
        )
        for rule_id, rule in JUDGE_RULES.items()
    )
    guards = (
        RulePage(
            rule_id,
            guard.name,
            "guard",
            guard.summary,
            f"# {rule_id} {guard.name}\n\n{guard.summary}\n\n{guard.text}\n",
        )
        for rule_id, guard in GUARDS.items()
    )
    return (*invariants, *comparisons, *guards)


@cache
def operator_pages() -> tuple[RulePage, ...]:
    """Return the contracts of Ascend's operators.

    Raises:
        EnvironmentProblemError: torch is not installed; the contracts are written against its tensors.
    """
    try:
        from workbench.npu.operators import RULES
    except ImportError as error:
        raise EnvironmentProblemError(
            f"operator rules need the extra [decode] ({error}); install specwb[decode]"
        ) from error
    unique = {rule.id: rule for rule in RULES}
    return tuple(
        RulePage(
            rule.id,
            rule.operator,
            "operator",
            f"{rule.argument}: {rule.sentence}",
            f"# {rule.id}\n\nOperator: `{rule.operator}`, argument `{rule.argument}`.\n\n"
            f"Expected: {rule.sentence}.\n\nOn the device: {rule.device}.\n\nSource: {rule.source}\n",
        )
        for rule in unique.values()
    )


def pages_named(word: str) -> tuple[RulePage, ...]:
    """Return the rule with this id or name, or all whose id begins so; case does not matter.

    Raises:
        UsageError: There is none; the sentence says what was probably meant.
        EnvironmentProblemError: An operator rule is asked for and torch is not installed.
    """
    wanted = word.strip().upper()
    pages = plain_pages()
    if wanted.startswith(OPERATOR_PREFIX) and wanted not in GUARDS:
        pages = (*operator_pages(), *pages)
    exact = tuple(page for page in pages if wanted in (page.id, page.name.upper()))
    found = exact or tuple(page for page in pages if wanted and page.id.startswith(wanted))
    if not found:
        raise UsageError(f"no rule {word!r}; {_hint(wanted, pages)}")
    return found


def _hint(wanted: str, pages: Sequence[RulePage]) -> str:
    known = {text.upper(): text for page in pages for text in (page.id, page.name)}
    near = difflib.get_close_matches(wanted, known, n=2)
    if near:
        return f"did you mean {' or '.join(known[text] for text in near)}?"
    return "`specwb explain` lists all"
