"""The grid names the wrong cell, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.view.columns import step_columns
from tests.view.steps import step_view
from tracing.run_facts import ModelFacts
from tracing.spans import Reach
from workbench.view.grid import DIFFERENT, LEAKED, MISSING, TRANSPOSED, grid_panel
from workbench.view.lines import plain_text
from workbench.view.minimap import QUADRANTS
from workbench.view.step import ViewOptions
from workbench.view.visible import visible_lines


def text(**changes: Any) -> str:
    return plain_text(visible_lines(step_view(**changes), ViewOptions()))


def test_a_lawful_grid_has_no_wrong_cell() -> None:
    panel = grid_panel(step_view())
    assert panel is not None
    assert panel.wrong_cells() == []
    assert "all cells as they should be" in text()


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 40))
def test_one_flipped_cell_is_the_only_wrong_one(query: int, key: int, seed: int) -> None:
    """Catches a grid drawn with its axes exchanged, and one that excuses the diagonal or the root."""
    visible = step_columns(seed)["visible"].copy()
    was = bool(visible[query, key])
    visible[query, key] = not was
    panel = grid_panel(step_view(seed, visible=visible))
    assert panel is not None
    assert panel.wrong_cells() == [(query, key)]
    assert panel.codes[query, key] == (MISSING if was else LEAKED)


def test_a_mirrored_pair_is_transposed_and_not_leaked() -> None:
    columns = step_columns(3)
    query, key = next((q, k) for q, k in np.argwhere(columns["visible"]).tolist() if q != k)
    visible = columns["visible"].copy()
    visible[query, key], visible[key, query] = False, True
    panel = grid_panel(step_view(3, visible=visible))
    assert panel is not None
    assert set(panel.wrong_cells()) == {(query, key), (key, query)}
    assert panel.codes[key, query] == panel.codes[query, key] == TRANSPOSED


def test_a_transposed_block_is_named_as_one_thing() -> None:
    assert "all mirrored: transposed" in text(visible=step_columns(0)["visible"].T.copy())


def test_what_a_pad_sees_is_nobodys_business_but_seeing_a_pad_is() -> None:
    visible = step_columns(0)["visible"].copy()
    visible[11, 3] = True  # row 11 is a pad
    assert "all cells as they should be" in text(visible=visible)
    visible[3, 11] = True
    assert "node 3 sees node 11, a pad" in text(visible=visible)


def test_a_row_that_misses_prefix_columns_stands_out() -> None:
    prefix = step_columns(0)["prefix_visible"].copy()
    prefix[2] -= 1
    row = next(line for line in text(prefix_visible=prefix).splitlines() if line.startswith("!"))
    assert row.split()[1] == "2"
    assert row.endswith("19 of 20")


def test_columns_outside_prefix_and_tree_stand_out() -> None:
    other = step_columns(0)["other_visible"].copy()
    other[1] = 3
    assert "+ 3 outside" in text(other_visible=other)


def test_without_parents_the_other_side_is_the_measure() -> None:
    visible = step_columns(0)["visible"].copy()
    visible[2, 9] = True
    step = step_view(parents=None, visible=visible, right={})
    panel = grid_panel(step)
    assert panel is not None
    assert panel.expected_from == "reference's grid"
    assert panel.wrong_cells() == [(2, 9)]


def test_without_anything_to_measure_by_nothing_is_called_right() -> None:
    shown = text(parents=None)
    assert "nothing to hold it against" in shown
    assert "as they should be" not in shown


def test_sides_that_differ_where_both_are_unjudged_are_marked() -> None:
    """Only the other side is wrong: its own cell is not called a fault of this side."""
    visible = step_columns(0)["visible"].copy()
    visible[2, 9] = True
    panel = grid_panel(step_view(right={"visible": visible}))
    assert panel is not None
    assert panel.codes[2, 9] == DIFFERENT


@pytest.mark.parametrize("parents", [[0, 2, 1, 0], [0, -1, 0, 0], [0, 99, 0, 0]])
def test_broken_parents_are_said_and_do_not_break_the_panel(parents: list[int]) -> None:
    shown = text(num_nodes=4, parents=np.array(parents))
    assert "do not lead to the root" in shown


def test_differences_only_leaves_out_rows_that_are_right() -> None:
    visible = step_columns(0)["visible"].copy()
    visible[4, 9] = True
    lines = plain_text(visible_lines(step_view(visible=visible), ViewOptions(differences_only=True)))
    rows = [line for line in lines.splitlines() if line.startswith(("!", " ")) and "prefix" not in line]
    assert sum(line.startswith("!") for line in rows) == 1


def windowed(window: int, **changes: Any) -> dict[str, Any]:
    """A step under a window that is shorter than the tree is deep, as a layer shows it."""
    columns = step_columns(0)
    reach, positions = Reach(window), columns["committed_len"] + columns["depths"].astype(np.int64)
    seen = np.where(columns["valid"], reach.num_prefix(positions, columns["committed_len"]), 0)
    shown = {"visible": columns["visible"] & reach.reaches(positions, positions)}
    return {**shown, "prefix_visible": seen.astype(np.int32), **changes}


def test_a_lawful_window_is_as_it_should_be() -> None:
    facts = {"model_facts": asdict(ModelFacts(windows=(2, 2)))}
    step = replace(step_view(**windowed(2)), manifest=facts)
    panel = grid_panel(step)
    assert panel is not None
    assert panel.wrong_cells() == []
    assert not any(map(panel.prefix_is_wrong, range(len(panel.codes))))
    other = grid_panel(replace(step, manifest={"model_facts": asdict(ModelFacts(windows=(3, 3)))}))
    assert other is not None
    assert other.prefix_is_wrong(0)
    wider = replace(step_view(**windowed(3)), manifest=facts)
    panel = grid_panel(wider)
    assert panel is not None
    assert panel.prefix_is_wrong(0)


def test_a_grid_too_wide_for_its_panel_is_drawn_in_small_too() -> None:
    """Every cell has its quarter, and the character of the wrong one is its letter."""
    narrow = ViewOptions(width=20)
    assert "in small" not in text()
    visible = step_columns(0)["visible"].copy()
    lines = plain_text(visible_lines(step_view(), narrow)).splitlines()
    start = next(number for number, line in enumerate(lines) if "in small" in line) + 1
    for query in range(len(visible)):
        row = lines[start + query // 2][7:].ljust(len(visible))
        for key in range(len(visible)):
            bit = 1 << (2 * (query % 2) + key % 2)
            assert bool(QUADRANTS.index(row[key // 2]) & bit) == bool(visible[query, key])
    visible[9, 2] = not visible[9, 2]
    wrong = plain_text(visible_lines(step_view(visible=visible), narrow)).splitlines()
    start = next(number for number, line in enumerate(wrong) if "in small" in line) + 1
    assert wrong[start + 4][7 + 1] in "LH"


def test_ancestors_end_where_parents_are_broken() -> None:
    step = step_view()
    parents = step.left.parents
    node = max(range(10), key=lambda each: len(step.ancestors(each)))
    assert {0, parents[node]} <= step.ancestors(node)
    assert node not in step.ancestors(node)
    assert step.ancestors(None) == step.ancestors(99) == frozenset()
