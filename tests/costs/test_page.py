"""The page of pictures says of each cost what the table says, and draws it on the right side of its goal."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from costs.__main__ import main
from costs.page import as_page
from costs.row import Goal, Row


def row(value: float | None, goal: Goal | None, spread: tuple[float, float] | None = None) -> Row:
    return Row(name="a.b", value=value, unit="s", how="5 < 6", goal=goal, spread=spread)


def bar(page: str) -> tuple[str, float, float]:
    found = re.search(r'<rect class="(\w+)" x="([\d.]+)" y="\d+" width="([\d.]+)"', page)
    assert found is not None
    return found[1], float(found[2]), float(found[2]) + float(found[3])


def middle(page: str) -> float:
    found = re.search(r'class="axis" x1="([\d.]+)"', page)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize(
    ("value", "goal", "kind", "is_left"),
    [
        (2.0, Goal(4), "held", True),
        (8.0, Goal(4), "missed", False),
        (8.0, Goal(4, at_least=True), "held", True),
        (2.0, Goal(4, at_least=True), "missed", False),
        (1e-9, Goal(4), "held", True),
        (1e9, Goal(4), "missed", False),
    ],
)
def test_better_is_left_of_the_goal(value: float, goal: Goal, kind: str, is_left: bool) -> None:
    page = as_page([row(value, goal)])
    drawn, left, right = bar(page)
    goal_at = middle(page)
    assert drawn == kind
    assert (right == pytest.approx(goal_at)) == is_left
    assert (left == pytest.approx(goal_at)) != is_left
    assert 0 < left < right <= 860


def test_whiskers_lie_about_the_value() -> None:
    page = as_page([row(2.0, Goal(4), (1.0, 3.0))])
    found = re.search(r'class="spread" x1="([\d.]+)" x2="([\d.]+)"', page)
    assert found is not None
    assert float(found[1]) < bar(page)[1] < float(found[2]) < middle(page)


@pytest.mark.parametrize("one", [row(None, Goal(4)), row(3.0, None), row(0.0, Goal(4))])
def test_what_cannot_be_drawn_is_in_words(one: Row) -> None:
    page = as_page([one])
    assert "<rect" not in page
    assert ("not measured" in page) == (one.value is None)


def test_the_page_is_whole_and_escaped() -> None:
    page = as_page([row(2.0, Goal(4)), Row(name="c.d", value=1.0, unit="", how="")])
    HTMLParser().feed(page)
    assert "5 &lt; 6" in page
    assert page.count("<h2>") == 2
    assert "http" not in page


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disk", "--page", str(tmp_path / "costs.html")]) == 0
    assert "disk.step" in capsys.readouterr().out
    assert "disk.step" in (tmp_path / "costs.html").read_text(encoding="utf-8")
