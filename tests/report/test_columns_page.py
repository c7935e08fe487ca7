"""The page of trace columns is current, and what it says of the rules is what the rules do."""

from __future__ import annotations

from pathlib import Path

import pytest

from invariants.catalogue import CATALOGUE
from invariants.examples import CONTEXT, Before, Tree, legal_step, next_before
from invariants.needs import columns_needed, columns_of_rules
from invariants.outcome import NotChecked, Outcome
from invariants.rule import Rule
from invariants.run import check_step
from pages.trace_columns import columns_page
from tracing.columns import COLUMN_BY_NAME, KEY_COLUMNS
from tracing.conformance import MINIMAL_COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "trace-columns.md"
OPENING = legal_step(Tree([0, 0, 1], [5, 6, 7], [6, 7, 8], 1), Before())
ROW = legal_step(Tree([0, 0, 1], [8, 9, 10], [9, 10, 2], 1), next_before(OPENING, Before()))
for _each in (OPENING, ROW):
    _each["rotary_position_ids"] = _each["position_ids"][None]  # of engines with several rotary rows
OF_STEPS = [rule for rule in CATALOGUE if rule.scope in ("step", "turn") and columns_needed(rule)]


def test_the_page_is_current() -> None:
    stale = "stale: python -m pages.trace_columns docs/trace-columns.md"
    assert PAGE.read_text("utf-8") == columns_page(), stale


def outcome(rule: Rule, names: set[str]) -> Outcome:
    kept = names | set(KEY_COLUMNS)
    first, row = ({name: each[name] for name in kept if name in each} for each in (OPENING, ROW))
    said = check_step(row, previous=first, first=first, context=CONTEXT)
    return next(each for each in said if each.rule == rule.id)


def lacks(outcome: Outcome, names: set[str]) -> bool:
    return isinstance(outcome, NotChecked) and any(name in outcome.reason for name in names)


@pytest.mark.parametrize("rule", OF_STEPS, ids=lambda rule: rule.id)
def test_a_rule_needs_what_the_page_says_and_no_more(rule: Rule) -> None:
    """A column too few in the page, and an engine would record it all and still not be checked."""
    needed = set(columns_needed(rule))
    others = set(COLUMN_BY_NAME) - needed - set(KEY_COLUMNS)
    assert not lacks(outcome(rule, needed), others)
    for name in needed:
        without = outcome(rule, needed - {name})
        assert isinstance(without, NotChecked), f"{rule.id} is checked without {name}"


def test_every_rule_is_listed_and_some_run_on_the_minimal_set() -> None:
    assert list(columns_of_rules()) == [rule.id for rule in CATALOGUE]
    assert any(columns and set(columns) <= set(MINIMAL_COLUMNS) for columns in columns_of_rules().values())
