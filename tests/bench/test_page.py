"""The page holds everything in itself, and nothing in it can break out of its place."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.bench.made import flat, made_bench, plans
from workbench.bench.headline import PAPER, headline
from workbench.bench.measure import run_turns
from workbench.bench.report.figures import figure
from workbench.bench.report.page import page
from workbench.bench.tables import Plot, Series, Study, Table, cell_text, text_lines

NASTY = '</script><img src=x onerror="alert(1)">'
EVERY_KIND = tuple(
    Plot(
        kind,
        f"a {kind} {NASTY}",
        "x",
        "y",
        (Series(NASTY, ("1", "2"), (1.0, None), (NASTY, "b")),),
        level=1.0,
    )
    for kind in ("line", "bar", "stack", "histogram", "scatter")
)
STUDY = Study(
    name="made",
    title=f"Made {NASTY}",
    text=(NASTY,),
    tables=(Table(NASTY, ("a", NASTY), (("x", 1.5), (NASTY, float("nan"))), NASTY),),
    plots=EVERY_KIND,
)


@pytest.fixture(scope="module")
def text() -> str:
    return page([STUDY], {"machine": {"processor": NASTY}, "identity": {}})


def without_library(text: str) -> str:
    """The page without the plotting library, whose own text is none of ours."""
    start, stop = text.index("<script>"), text.index("</script></head>")
    return text[:start] + text[stop:]


def test_nothing_breaks_out(text: str) -> None:
    assert "<img" not in without_library(text)


def test_nothing_is_fetched(text: str) -> None:
    ours = without_library(text)
    assert not re.search(r"<(?:link|img|iframe|object)\b", ours)
    assert not re.search(r"<script[^>]*\bsrc=", text)
    assert not re.search(r"\burl\(|@import", ours)
    assert "Plotly.newPlot" in ours


def test_every_kind_of_plot_is_drawn_with_its_data(text: str) -> None:
    given = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    kinds = [json.loads(one)["data"][0]["type"] for one in given]
    assert kinds == ["scatter", "bar", "bar", "histogram", "scatter"]


def test_a_study_survives_the_disk() -> None:
    again = Study.from_json(json.loads(json.dumps(STUDY.as_json(), allow_nan=False)))
    table = replace(STUDY.tables[0], rows=(("x", 1.5), (NASTY, None)))
    assert again == replace(STUDY, tables=(table,))


def test_table_one_stands_beside_the_papers() -> None:
    study = headline(flat(run_turns(made_bench(num_accepted=(2, 3, 0)), plans(4, 6), 1)), {"tree": "8/4/2"})
    rows = {row[0]: row[1:] for row in study.tables[0].rows}
    assert rows["speedup"][0] == pytest.approx(2.5)
    assert rows["accept_L"][0] == 2.5
    for name, paper in PAPER.items():
        assert rows[name][4:] == paper
    told = "\n".join(text_lines([study]))
    assert "2.46" in told
    assert "0 refused" in told


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        *((None, "-"), (float("nan"), "-"), (3, "3"), ("a", "a"), (0.0, "0.00"), (1234.5, "1,234")),
        *((123.4, "123.4"), (1.234, "1.23"), (0.1234, "0.123"), (0.001234, "0.0012")),
    ],
)
def test_a_cell_is_as_long_as_its_size_asks_for(cell: str | float | None, shown: str) -> None:
    assert cell_text(cell) == shown


def drawn(kind: str, *series: tuple[float, ...], y: tuple[float, ...] = ()) -> dict[str, Any]:
    """Return a plot as plotly's data."""
    plot = Plot(kind, "title", "tokens", "turns", tuple(Series(f"s{n}", x, y) for n, x in enumerate(series)))
    return json.loads(figure(plot).to_json())


def test_few_values_are_points_and_not_bins() -> None:
    few = drawn("histogram", (1.2, 2.5))
    assert few["data"][0]["type"] == "scatter"
    assert few["data"][0]["x"] == [1.2, 2.5]
    assert "one point for each" in few["layout"]["yaxis"]["title"]["text"]
    assert (
        drawn("histogram", (1.2, 2.5), tuple(float(n) for n in range(30)))["data"][0]["type"] == "histogram"
    )


@pytest.mark.parametrize(
    ("values", "width"),
    [
        (tuple(1 + n / 100 for n in range(100)), 0.05),
        (tuple(range(20)), 1.0),
        (tuple(range(0, 4000, 100)), 200.0),
    ],
)
def test_bins_are_round_and_said(values: tuple[float, ...], width: float) -> None:
    one = drawn("histogram", values)
    assert one["data"][0]["xbins"]["size"] == pytest.approx(width)
    assert f"in bins of {width:g}" in one["layout"]["xaxis"]["title"]["text"]
    assert one["layout"]["yaxis"]["tickformat"] == ",d"


def test_counts_have_whole_ticks_and_ratios_have_not() -> None:
    axis = drawn("line", (1, 2, 3), y=(1.5, 2.0, 2.5))["layout"]
    assert (axis["xaxis"]["dtick"], axis["xaxis"]["tickformat"]) == (1, ",d")
    assert "dtick" not in axis["yaxis"]
    assert "dtick" not in drawn("line", (1, 2, 300), y=(1.5, 2.0, 2.5))["layout"]["xaxis"]


def test_few_turns_say_how_little_they_say() -> None:
    def told(turns: int, repetitions: int) -> str:
        results = run_turns(made_bench(num_accepted=(2, 3, 0)), plans(*range(4, 4 + turns)), repetitions)
        return "\n".join(headline(flat(results), {}).text)

    assert "no interval" in told(1, 1)
    assert "over repetitions" not in told(1, 1)
    assert "With 2 turns the mean of ratios is known to 2.500 to 2.500 (95 %" in told(2, 2)
    assert "over repetitions" in told(2, 2)
