"""Proposers side by side: each has its own row, and who chooses is judged against the best of the others."""

from __future__ import annotations

import pytest

from tests.bench.made import flat, plans, several
from workbench.bench.measure import run_turns
from workbench.bench.outputs import COLUMNS, turns_csv
from workbench.bench.proposers import proposers_study
from workbench.bench.tables import Study


def study(**token_seconds: float) -> Study:
    results = flat(run_turns(several(**token_seconds), plans(4, 6, 9), 2))
    return proposers_study(results, {"eagle3": {"tree": "8/4/2"}}, "all fused")


def test_each_proposer_has_its_own_speed_against_the_same_baseline() -> None:
    rows = {row[0]: dict(zip(made.columns, row, strict=True)) for made in study(
        eagle3=0.004, lookup=0.020
    ).tables[:1] for row in made.rows}  # fmt: skip
    assert rows["eagle3"]["speedup"] == pytest.approx(2.5)
    assert rows["lookup"]["speedup"] == pytest.approx(0.5)
    assert (rows["eagle3"]["lost"], rows["lookup"]["lost"]) == (0, 1)
    assert (rows["eagle3"]["drafts"], rows["lookup"]["drafts"]) == ("8/4/2", "")


@pytest.mark.parametrize(("auto", "told"), [(0.0039, "%"), (0.0041, "% of eagle3"), (0.006, "NOT")])
def test_who_chooses_is_held_against_the_best_of_the_others(auto: float, told: str) -> None:
    made = study(eagle3=0.004, lookup=0.008, auto=auto)
    whole, code = made.text[-2:]
    assert "all turns: auto reaches" in whole
    assert ("NOT better" in whole) == (auto > 0.004)
    assert ("NOT within" in code) == (auto > 0.00413)
    assert told in whole
    against = {row[0]: row for row in made.tables[-1].rows}
    assert set(against) == {"eagle3", "lookup"}
    assert against["lookup"][2] == pytest.approx(0.008 / auto)


def test_other_text_of_one_proposer_is_refused_for_it_alone() -> None:
    bench = several(eagle3=0.004, lookup=0.005)
    bench.proposers["lookup"].slip_at = 1
    results = flat(run_turns(bench, plans(4, 6), 1))
    made = proposers_study(results, {}, "all fused")
    assert made.num_refused == 2
    assert [row[-1] for row in made.tables[0].rows] == [0, 2]
    lines = turns_csv(results).splitlines()
    assert (lines[0], len(lines)) == (",".join(COLUMNS), 5)


def test_every_side_is_first_equally_often() -> None:
    results = flat(run_turns(several(eagle3=0.004, lookup=0.005), plans(4, 5, 6), 1))
    assert [result.first for result in results[::2]] == ["baseline", "eagle3", "lookup"]
