"""Plans: covers, axes, suites, folders."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing.errors import UsageError
from workbench.campaign.axes import options_of, parse_axes
from workbench.campaign.plan import CASES_NAME, PlanRequest, make_plan, read_plan, rows_of, write_plan

AXES = st.lists(st.integers(1, 4), min_size=0, max_size=5).map(
    lambda sizes: {f"axis{axis}": [str(value) for value in range(size)] for axis, size in enumerate(sizes)}
)


@given(AXES)
def test_a_pairwise_cover_holds_every_pair_and_a_full_one_every_combination(
    axes: dict[str, list[str]],
) -> None:
    rows = rows_of(axes, "pairwise")
    for one, other in itertools.combinations(axes, 2):
        seen = {(row[one], row[other]) for row in rows}
        assert seen == set(itertools.product(axes[one], axes[other]))
    assert all(set(row) == set(axes) for row in rows)
    full = rows_of(axes, "full")
    assert len({tuple(row.items()) for row in full}) == len(full)
    assert {tuple(row.items()) for row in rows} <= {tuple(row.items()) for row in full}


def test_a_pairwise_cover_is_small() -> None:
    axes = {name: list("abcd") for name in "vwxyz"}
    assert len(rows_of(axes, "pairwise")) <= 30  # of 1,024


def test_values_come_to_settings() -> None:
    axes = parse_axes("tree=24/4/6,12/3/4,dtype=float32,bfloat16,eager=attention+norm")
    assert axes["tree"] == ["24/4/6", "12/3/4"]
    assert (axes["dtype"], axes["eager"]) == (["float32", "bfloat16"], ["attention+norm"])
    options = options_of({"tree": "12/3/4", "dtype": "bfloat16", "eager": "attention+norm"}, 9)
    settings = options.settings
    assert (settings.tree_nodes, settings.depth, settings.top_k, settings.max_new_tokens) == (12, 3, 4, 9)
    assert (options.dtype, options.eager) == ("bfloat16", {"attention", "norm"})
    assert options_of({"proposer": "medusa", "static_tree": "0 1 0.0"}, 9).settings.tree_nodes == 4


TWICE = "dtype=float32,float32"
WRONG = ["tree", "tree=", "tree=1/2", "dtype=int8", "size=3", TWICE, "block_size=x", "eager=x"]


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_varied_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_axes(text)


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    request = PlanRequest(
        suite="code", over="dtype=float32,bfloat16", faults=("sibling-leak",), cases=7, canaries=2
    )
    plan = make_plan(request)
    write_plan(plan, tmp_path / "plan")
    read = read_plan(tmp_path / "plan")
    assert read.cases == plan.cases
    assert [case.number for case in read.cases] == list(range(7))
    assert len({case.id for case in read.cases}) == 7
    assert len(read.canaries) == 2
    assert not any(case.fault for case in read.canaries)
    with pytest.raises(UsageError, match="not empty"):
        write_plan(plan, tmp_path / "plan")


def test_texts_of_given_lengths(tmp_path: Path) -> None:
    plan = make_plan(PlanRequest(suite="synthetic:5:8,32", seed=3))
    assert [case.cut for case in plan.cases] == [8, 32, 8, 32, 8]
    assert plan.cases == make_plan(PlanRequest(suite="synthetic:5:8,32", seed=3)).cases
    with pytest.raises(UsageError, match="synthetic"):
        make_plan(PlanRequest(suite="synthetic:x"))
    with pytest.raises(UsageError, match="a suite is one of"):
        make_plan(PlanRequest(suite=str(tmp_path / "nothing")))


def test_a_changed_plan_is_refused(tmp_path: Path) -> None:
    write_plan(make_plan(PlanRequest(suite="code", cases=3)), tmp_path / "plan")
    file = tmp_path / "plan" / CASES_NAME
    lines = file.read_text().splitlines()
    forged = lines[0].replace("code", "chat", 1)
    for changed in (lines[1:], [*lines, lines[0]], [forged, *lines[1:]], ["{}"], ["x"]):
        file.write_text("\n".join(changed) + "\n")
        with pytest.raises(UsageError):
            read_plan(tmp_path / "plan")
