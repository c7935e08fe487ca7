"""The catalogue is complete, ordered and documented, and its pages are current."""

from __future__ import annotations

import inspect
import pkgutil
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from invariants import families
from invariants.catalogue import BY_ID, CATALOGUE, FAMILIES
from invariants.context import RunContext
from invariants.families.record import EVERY_STEP
from invariants.launches.rows import READ
from invariants.needs import columns_read
from invariants.rule import HEADINGS, LAUNCHED, Rule
from pages import invariants as docs
from tracing.columns import COLUMN_BY_NAME
from tracing.moment import STAGES

DOCS = Path(__file__).parents[2] / "docs" / "invariants"
BESIDE_COLUMNS = {
    "written_between",
    "thresholds",
    "statistics",
    "recorded",
    LAUNCHED,
    *(each.name for each in fields(RunContext)),
}

every_rule = pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: rule.id)


def defined_rules() -> list[Rule]:
    names = [each.name for each in pkgutil.walk_packages(families.__path__, "invariants.families.")]
    modules = [import_module(name) for name in names]
    return [value for module in modules for _, value in inspect.getmembers(module) if isinstance(value, Rule)]


def test_every_defined_rule_is_listed_and_listed_once() -> None:
    assert {rule.id for rule in defined_rules()} == set(BY_ID)
    assert len(BY_ID) == len(CATALOGUE) == len(defined_rules())


def test_ids_ascend_within_families_and_families_stay_together() -> None:
    letters = list(dict.fromkeys(rule.family for rule in CATALOGUE))
    assert letters == list(FAMILIES)
    expected = [
        f"{family}{number:03d}"
        for family in letters
        for number in range(1, 1 + sum(rule.family == family for rule in CATALOGUE))
    ]
    assert [rule.id for rule in CATALOGUE] == expected


def test_names_are_unique_kebab_case() -> None:
    names = [rule.name for rule in CATALOGUE]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name for name in names)


@every_rule
def test_documentation_has_every_heading_in_order(rule: Rule) -> None:
    said = docs.sections(rule)
    assert list(said) == ["", *HEADINGS]
    assert all(said.values())
    assert "\n" not in said[""]


@every_rule
def test_arguments_are_columns_or_facts_of_the_run(rule: Rule) -> None:
    assert set(rule.reads) <= set(READ)
    assert bool(rule.reads) == (LAUNCHED in rule.arguments)
    for name in rule.arguments:
        column = name.removeprefix("previous_").removeprefix("first_")
        assert column in COLUMN_BY_NAME or column in BESIDE_COLUMNS, name


@every_rule
def test_scope_is_what_the_arguments_say(rule: Rule) -> None:
    looks_back = any(name.startswith(("previous_", "first_")) for name in rule.arguments)
    expected = "run" if "statistics" in rule.arguments else "turn" if looks_back else "step"
    assert rule.scope == ("launch" if LAUNCHED in rule.arguments else expected)
    assert rule.stage in STAGES
    assert rule.severity in ("error", "warning")


def test_prerequisites_exist_and_run_in_no_circle() -> None:
    def depth(rule: Rule, above: tuple[str, ...]) -> int:
        assert rule.id not in above
        return 1 + max((depth(BY_ID[each], (*above, rule.id)) for each in rule.requires), default=0)

    assert max(depth(rule, ()) for rule in CATALOGUE) > 3


def test_pages_in_docs_are_current() -> None:
    assert {path.name for path in DOCS.glob("*.md")} == set(docs.pages())
    for name, text in docs.pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, (
            f"{name} is stale: python -m pages.invariants"
        )


def test_stale_pages_go_away(tmp_path: Path) -> None:
    (tmp_path / "MASK999.md").write_text("gone", encoding="utf-8")
    docs.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(docs.pages())


def test_a_check_unpacks_every_column_that_a_rule_reads() -> None:
    """A column left packed is null to its rules, which then say that it was not recorded."""
    named = {name for rule in CATALOGUE for name in rule.arguments}
    named |= {name.removeprefix("previous_").removeprefix("first_") for name in named}
    read = set(columns_read())
    assert read >= named & set(COLUMN_BY_NAME)
    assert read >= {*EVERY_STEP, "launch_refused", "prompt_id", "turn", "step"}
    assert "step_verdict" not in read
