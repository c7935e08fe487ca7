"""Which rules run: ids, names, beginnings, and what `[tool.specwb]` may say."""

from __future__ import annotations

from typing import Any

import pytest

from invariants.catalogue import CATALOGUE
from invariants.selection import Selection, read_selection, rules_named
from invariants.thresholds import Thresholds
from tracing.errors import UsageError


def ids(selection: Selection) -> list[str]:
    return [rule.id for rule in selection.rules()]


def test_nothing_said_means_every_rule() -> None:
    assert ids(Selection()) == [rule.id for rule in CATALOGUE]
    assert read_selection({}) == Selection()


def test_families_names_and_beginnings() -> None:
    assert ids(Selection(select=("mask",), ignore=("MASK00",))) == ["MASK010", "MASK011", "MASK012"]
    assert ids(Selection(select=("duplicate-sibling",))) == ["TREE007"]
    assert ids(Selection(select=("POS002", "POS001"))) == ["POS001", "POS002"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("MASK01x", "did you mean MASK01"),
        ("MAKS001", "did you mean MASK001"),
        ("duplicate-siblings", "TREE007|dup"),
    ],
)
def test_a_word_that_names_no_rule_is_refused_with_a_hint(word: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        rules_named(word)


@pytest.mark.parametrize("word", ["", "  ", "zzzzzz"])
def test_an_empty_or_foreign_word_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="specwb explain"):
        rules_named(word)


def test_pyproject_is_read_whole() -> None:
    table = {
        "select": ["TREE", "STAT"],
        "ignore": ["TREE006"],
        "thresholds": {"min_steps": 5, "max_fall": 0.9},
    }
    selection = read_selection({"tool": {"specwb": table}})
    assert selection.ignore == ("TREE006",)
    assert selection.thresholds == Thresholds(min_steps=5, max_fall=0.9)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"selct": []}, "no key 'selct'; did you mean select"),
        ({"select": "TREE"}, "should be a list of rule ids"),
        ({"select": ["TREEE001"]}, "did you mean TREE001"),
        ({"thresholds": {"min_step": 3}}, "did you mean min_steps"),
        ({"thresholds": {"min_steps": 2.5}}, "whole number"),
        ({"thresholds": {"max_fall": "half"}}, "should be a number"),
        ({"thresholds": {"max_fall": 2}}, "between 0 and 1"),
        ({"thresholds": {"min_steps": 0}}, "at least 1"),
        ({"thresholds": {"min_deviations": -1}}, "not be negative"),
        ({"thresholds": []}, "should be a table"),
    ],
)
def test_a_mistake_in_pyproject_is_one_sentence(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_selection({"tool": {"specwb": table}})
