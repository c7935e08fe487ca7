"""One line on what the cursor is on says what is wrong with it, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.view.columns import step_columns
from tests.view.steps import step_view
from tests.view.traces import finding, leaked, write_run
from tracing.errors import UsageError
from tracing.moment import Moment
from tracing.recorder import open_trace
from workbench.view.explain import both_values, explain, relation
from workbench.view.lines import line_text
from workbench.view.run_findings import RunFindings
from workbench.view.run_view import RunView
from workbench.view.targets import CellTarget, FindingTarget, NodeTarget, PositionTarget, SlotTarget
from workbench.view.violation import check_onwards

#        0
#      1   2
#     3 4  5
#     6
PARENTS = [0, 0, 0, 1, 1, 2, 3, 0]
PADS = frozenset({7})


@pytest.mark.parametrize(
    ("query", "key", "said"),
    [
        (3, 3, "itself"),
        (3, 1, "its parent"),
        (6, 1, "its ancestor"),
        (1, 3, "its child"),
        (0, 6, "its descendant"),
        (3, 4, "its sibling"),
        (6, 5, "on another branch, parting at node 0"),
        (6, 4, "on another branch, parting at node 1"),
        (6, 7, "a pad"),
    ],
)
def test_a_key_is_named_by_what_it_is_to_the_query(query: int, key: int, said: str) -> None:
    assert relation(query, key, PARENTS, PADS) == said


def test_parents_that_run_in_a_circle_have_no_relation() -> None:
    assert "do not lead to the root" in relation(1, 2, [0, 2, 1], frozenset())


def test_a_leaked_cell_says_so_and_that_the_other_side_does_not() -> None:
    changes, (query, key) = leaked()
    step = step_view(step=1, visible=changes[1]["visible"], right={})
    said = line_text(explain(step, CellTarget(query, key)))
    assert "leaked" in said
    assert f"sees node {key}" in said
    assert said.endswith("reference does not")
    assert "leaked" not in line_text(explain(step, CellTarget(query, query)))


def test_a_hidden_ancestor_says_so() -> None:
    visible = step_columns(1)["visible"].copy()
    visible[3, 0] = False
    assert "hidden: node 3" in line_text(explain(step_view(step=1, visible=visible), CellTarget(3, 0)))


def test_nodes_positions_slots_and_findings_are_said() -> None:
    step = step_view()
    assert "parent" in line_text(explain(step, NodeTarget(1)))
    assert "accepted" in line_text(explain(step, NodeTarget(1)))
    assert line_text(explain(step, NodeTarget(0))).startswith("root")
    assert "the commit kept it" in line_text(explain(step, PositionTarget(20)))
    assert "of the prefix" in line_text(explain(step, PositionTarget(3)))
    assert "slot 7" in line_text(explain(step, SlotTarget(7)))
    found = step_view(findings=(finding(0),))
    assert line_text(explain(found, FindingTarget(Moment(0, 0, 0), 9))) == ""
    assert "kv: fused 3, expected 4" in line_text(both_values(finding(0, "kv", None, fused=3, reference=4)))
    assert line_text(explain(step, None)) == line_text(both_values(finding(0))) == ""


@pytest.mark.parametrize(
    "target", [CellTarget(99, 3), NodeTarget(99), PositionTarget(10**9), CellTarget(1, 1)]
)
def test_what_is_not_recorded_breaks_nothing(target: NodeTarget) -> None:
    assert explain(step_view(**dict.fromkeys(step_columns(0))), target)


def unjudged(folder: Path) -> tuple[RunView, tuple[int, int]]:
    """An engine's run of six steps that nobody has judged; step 4 leaks."""
    changes, cell = leaked(step=4, query=7)
    with open_trace(folder, engine="other") as trace:
        for step in range(6):
            columns = step_columns(step) | changes.get(step, {})
            kept = ("parents", "token_ids", "valid", "visible", "depths")
            with trace.step(prompt_id=step, turn=0, step=0) as recorded:
                recorded.record(**{name: columns[name] for name in kept})
    return RunView(folder), cell


def test_a_run_that_nobody_judged_does_not_pass_for_a_clean_one(tmp_path: Path) -> None:
    view, _ = unjudged(tmp_path / "run")
    assert "K checks it" in view.judged().text
    assert "was found" in RunView(write_run(tmp_path / "judged", verdict="ok")).judged().text


def test_the_next_broken_step_is_found_without_recorded_findings(tmp_path: Path) -> None:
    view, (query, _) = unjudged(tmp_path / "run")
    hit = check_onwards(view, -1, lambda _: True)
    assert hit is not None
    assert (hit[0], view.findings[hit[1]].rule, view.findings[hit[1]].moment.node) == (
        4,
        "MASK001",
        query,
    )
    assert view.step(4).finding_nodes() == {query}
    assert check_onwards(view, -1, lambda _: True) == hit, "found again, not listed twice"
    assert check_onwards(view, 4, lambda _: True) is None
    assert check_onwards(view, -1, lambda _: False) is None


def test_a_recorded_consequence_that_is_found_again_is_listed_once(tmp_path: Path) -> None:
    view, _ = unjudged(tmp_path / "run")
    hit = check_onwards(view, -1, lambda _: True)
    assert hit is not None
    found, run = view.findings[hit[1]], view.left[0]
    run.findings = [replace(found, consequence=True)]
    findings = RunFindings(run, None)
    findings.count(("fused",))
    assert findings.add_checked([found], ("fused",)) == [0]
    assert len(findings.all) == 1


def test_two_runs_show_their_references_side_by_side(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=5))
    assert view.labels == ("a", "b")
    assert view.show_next_path() == "reference"
    assert view.labels == ("a reference", "b reference")
    step = view.step(1)
    assert step.right is not None
    assert "slots" in step.left.lacks
    assert "slots" in step.right.lacks
    assert view.show_next_path() == "fused"
    with pytest.raises(UsageError, match="it has fused, reference"):
        view.show_path("third")
