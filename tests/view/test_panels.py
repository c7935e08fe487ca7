"""Each panel shows what its columns say, and says what is missing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from invariants.outcome import Violated
from tests.view.columns import step_columns
from tests.view.steps import DIFFERENCES, PLAIN, TOKENS, chain, empty_side, shown, step_view
from tests.view.traces import finding
from tracing.moment import Moment
from workbench.view import visible
from workbench.view.acceptance import acceptance_lines, final_kind, visited_nodes
from workbench.view.condition import nothing_found
from workbench.view.findings import findings_lines
from workbench.view.lines import LazyLines, plain_text, targets_of
from workbench.view.logits import logit_rows, logits_lines
from workbench.view.panels import PANELS, panel_for, target_of
from workbench.view.rules import rule_outcomes
from workbench.view.stages import duration, stages_lines
from workbench.view.step import Side, StepView
from workbench.view.targets import CellTarget, NodeTarget, PositionTarget
from workbench.view.tree import tree_lines, tree_nodes

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("panel", ["tree", "visible", "acceptance", "cache", "distance"])
def test_the_panel_looks_as_it_did(panel: str) -> None:
    """A text snapshot; after a wanted change, look at the new text and write it to the file."""
    columns = step_columns(2, 8)
    visible = columns["visible"].copy()
    visible[4, 3] = not visible[4, 3]
    step = step_view(2, 8, visible=visible, right={"final_token_id": 7})
    assert shown(panel, step) == (SNAPSHOTS / f"{panel}.txt").read_text(encoding="utf-8")


def test_the_tree_shows_every_valid_node_once_and_counts_pads() -> None:
    step = step_view()
    assert sorted(node.node for node in tree_nodes(step)) == list(range(10))
    assert "2 padding rows: nodes 10-11" in plain_text(tree_lines(step, PLAIN))


@pytest.mark.parametrize("parents", [[0, 2, 1, 0], [0, -1, 0, 0], [0, 99, 0, 0], [3, 0, 0, 2]])
def test_a_broken_tree_still_shows_every_node(parents: list[int]) -> None:
    """Catches a walk that never ends on a circle, and nodes that vanish with their parent."""
    step = step_view(num_nodes=4, parents=np.array(parents), valid=np.ones(4, bool))
    nodes = tree_nodes(step)
    assert sorted(node.node for node in nodes) == [0, 1, 2, 3]
    strays = {node.node for node in nodes if node.stray}
    assert strays == {node for node in (1, 2) if parents[1:3] == [2, 1]} | {
        node for node in (1,) if parents[1] in {-1, 99}
    }


def test_a_position_off_by_one_is_named_with_what_it_should_be() -> None:
    step = step_view(num_nodes=4, **(chain() | {"position_ids": np.array([20, 21, 23, 23])}))
    text = plain_text(tree_lines(step, PLAIN))
    assert "position 23, expected 22 (L + depth)" in text
    assert text.count("expected") == 1


def test_a_tree_that_differs_shows_both_values() -> None:
    tokens = step_columns(0)["token_ids"].copy()
    tokens[3] += 1
    text = plain_text(tree_lines(step_view(right={"token_ids": tokens}), DIFFERENCES))
    assert "≠ token_ids" in text
    assert len(text.splitlines()) == 2


def test_rounding_of_a_log_probability_is_no_difference() -> None:
    logprobs = step_columns(0)["draft_logprobs"] + np.float32(1e-6)
    text = plain_text(tree_lines(step_view(right={"draft_logprobs": logprobs}), DIFFERENCES))
    assert text == "no node differs\n"


def test_logits_show_margin_and_the_choice_of_each_side() -> None:
    choices = step_columns(0)["target_token_ids"].copy()
    choices[1] += 1
    step = step_view(right={"target_token_ids": choices})
    rows = logit_rows(step)
    assert [row.node for row in rows if row.differs] == [1]
    top = step_columns(0)["target_top_logits"][1]
    assert rows[1].margins[0] == pytest.approx(top[0] - top[1], abs=1e-6)  # float32 subtraction
    text = plain_text(logits_lines(step, DIFFERENCES))
    assert "≠ chosen: fused" in text
    assert "which is not its best" in text


def test_a_nan_logit_is_marked_even_where_the_choice_agrees() -> None:
    logits = step_columns(0)["target_top_logits"].copy()
    logits[2, 0] = math.nan
    text = plain_text(logits_lines(step_view(target_top_logits=logits, right={}), DIFFERENCES))
    assert "! node 2" in text


def test_a_grid_of_thousands_of_cells_is_found_in_without_being_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches a selection that makes every line of a large grid first."""
    nodes = 300
    step = step_view(num_nodes=nodes, **chain(nodes))
    drawn: list[int] = []
    original = visible._row
    monkeypatch.setattr(
        visible, "_row", lambda panel, query, found: drawn.append(query) or original(panel, query, found)
    )
    lines = visible.visible_lines(step, PLAIN)
    assert isinstance(lines, LazyLines)
    assert lines.find is not None
    number = lines.find(CellTarget(250, 3))
    assert number is not None
    assert drawn == []
    assert CellTarget(250, 3) in [target for _, _, target in targets_of(lines[number])]
    assert drawn == [250]


def test_acceptance_walks_from_the_root_and_names_the_last_token() -> None:
    assert visited_nodes(step_view().left) == [0, 1]
    leaf = {**chain(2), "accepted_nodes": np.array([1])}
    assert final_kind(step_view(num_nodes=2, **leaf).left) == "bonus"
    refused = {**chain(), "accepted_nodes": np.array([1])}
    assert final_kind(step_view(num_nodes=4, **refused).left) == "correction"


def test_an_accepted_node_against_the_choice_stands_out() -> None:
    choices = step_columns(0)["target_token_ids"].copy()
    choices[0] += 1
    text = plain_text(acceptance_lines(step_view(target_token_ids=choices), PLAIN))
    assert "but" in text
    assert "follows" in text


def test_stage_times_add_up_and_an_index_beyond_its_bound_is_marked() -> None:
    sites = [
        {"site": "gather", "min": 0, "max": 12, "bound": 12},
        {"site": "fine", "min": 0, "max": 11, "bound": 12},
    ]
    text = plain_text(stages_lines(step_view(index_sites=sites), PLAIN))
    assert "fused: 5 µs" in text
    marked = [line for line in text.splitlines() if line.startswith("  ! ")]
    assert len(marked) == 1
    assert "gather" in marked[0]


@pytest.mark.parametrize(("ns", "text"), [(0, "0 ns"), (999, "999 ns"), (1500, "1.5 µs"), (2 * 10**9, "2 s")])
def test_durations_read_well(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_a_finding_brings_the_documentation_of_its_rule() -> None:
    """Guards and operator rules had none on the screen, and a page in `specwb explain`."""
    rules = ("MASK001", "JUDGE-VERIFY-KV", "RUN-STAGE-RAISED", "NPU-FIA-MASK-POLARITY", "MINE-1")
    step = step_view(findings=tuple(finding(0, rule=rule) for rule in rules))
    text = plain_text(findings_lines(step, PLAIN))
    assert "A stage of the path under test ended in an exception." in text
    assert "On the device:" in text
    assert "non-ancestor-visible" in text
    assert "\n    What it does\n      " in text, "text is indented under its heading"
    assert "K (after rotary) and V of a node are within rounding." in text
    assert "MINE-1: this specwb has no documentation" in text


@pytest.mark.parametrize(
    ("column", "panel"),
    [("visible", "visible"), ("position_ids", "tree"), ("path_indices", "cache"), ("features", "findings")],
)
def test_a_finding_opens_the_panel_of_its_column(column: str, panel: str) -> None:
    assert panel_for(column) == panel


def test_a_finding_on_the_grid_points_to_its_cell() -> None:
    visible = step_columns(0)["visible"].copy()
    visible[4, 9] = True
    step = step_view(visible=visible)
    assert target_of(finding(0, node=4), step) == CellTarget(4, 9)
    assert target_of(finding(0, node=None), step) == CellTarget(4, 9)
    assert target_of(finding(0, node=3), step) == NodeTarget(3)
    assert target_of(finding(0, "slots", node=2), step) == PositionTarget(22)


def violated_rules(step: StepView) -> set[str]:
    return {each.rule for each in rule_outcomes(step)[0] if isinstance(each, Violated)}


def test_rules_are_judged_now_and_a_broken_step_violates_them() -> None:
    """The made-up step is lawful as a tree and a mask; its digests and scores are noise."""
    assert not [rule for rule in violated_rules(step_view()) if rule.startswith(("MASK", "TREE"))]
    visible = step_columns(0)["visible"].copy()
    visible[4, 9] = True
    assert "MASK001" in violated_rules(step_view(visible=visible))


def test_damaged_limits_are_said() -> None:
    step = replace(step_view(), manifest={"limits": {"vocab_size": "many"}})
    assert "limits of the run are not known" in shown("rules", step)


@pytest.mark.parametrize("panel", [each.name for each in PANELS])
def test_every_panel_shows_what_there_is(panel: str) -> None:
    """No column, only the keys, only some columns, another side without a row: never an exception."""
    whole = step_view(right={})
    keys = {"prompt_id": 0, "turn": 0, "step": 0}
    for left in (
        {},
        keys,
        keys | {"token_ids": np.array([1, 2])},
        keys | {"parents": np.array([], np.int32)},
    ):
        step = replace(whole, left=Side("fused", left), right=empty_side())
        for options in (PLAIN, DIFFERENCES):
            shown(panel, step, options)
            shown(panel, step.swapped(), options)


@pytest.mark.parametrize("panel", ["tree", "visible", "logits", "acceptance", "distance"])
def test_a_panel_says_which_column_is_missing(panel: str) -> None:
    bare = StepView(Moment(0), Side("fused", {"prompt_id": 0}, lacks=frozenset({"visible"})), tokens=TOKENS)
    assert "fused" in shown(panel, bare)
    assert "not recorded" in shown(panel, bare) or "never has" in shown(panel, bare)


def test_sides_that_accepted_nothing_do_not_accept_the_same() -> None:
    nothing = dict.fromkeys(("accepted_nodes", "emitted_token_ids", "final_token_id", "stop_reason"))
    unaccepted = step_view(right=nothing, **nothing)
    for options in (PLAIN, DIFFERENCES):
        text = shown("acceptance", unaccepted, options)
        assert "accept the same" not in text
        assert text.count("not recorded") == 2
    assert "fused and reference accept the same" in shown("acceptance", step_view(right={}), DIFFERENCES)


@pytest.mark.parametrize(
    ("step_verdict", "run_verdict", "being_written", "of_step", "of_run"),
    [
        ("ok", "ok", False, "nothing was found in step", "nothing was found in this run"),
        (None, None, False, "no judge gave a verdict", "the run was perhaps never judged"),
        (None, "ok", False, "no judge gave a verdict", "nothing was found in this run"),
        (None, "inconclusive", False, "no judge gave a verdict", "the run is inconclusive"),
        (None, "numeric", False, "no judge gave a verdict", "its findings are not recorded"),
        ("ok", None, True, "nothing was found in step", "nothing found so far"),
    ],
)
def test_nothing_is_found_only_where_it_was_judged(
    step_verdict: str | None, run_verdict: str | None, being_written: bool, of_step: str, of_run: str
) -> None:
    step = step_view(step_verdict=step_verdict)
    judged = nothing_found({"verdict": run_verdict}, being_written=being_written)
    step = replace(step, judged=judged)
    text = " ".join(shown("findings", step).split())
    assert of_step in text
    assert of_run in text[text.index(of_step) + len(of_step) :]


def test_a_single_root_is_a_tree() -> None:
    step = step_view(num_nodes=1)
    for panel in PANELS:
        assert shown(panel.name, step)


def test_acceptance_shows_the_draws_of_a_sampled_step() -> None:
    drawn = step_view(draws=np.full(9, 0.25), row_seed=7, draw_position=3)
    assert "9 draws of seed 7 from place 3: 0.250000" in plain_text(acceptance_lines(drawn, PLAIN))
    assert "and 1 more" in plain_text(acceptance_lines(drawn, PLAIN))
    assert "draws" not in plain_text(acceptance_lines(step_view(), PLAIN))
