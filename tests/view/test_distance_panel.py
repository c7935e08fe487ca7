"""Buckets of the drafter's attention distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.view.steps import shown, step_view
from tracing.distances import DEFAULT_EDGES, parse_edges, stated_edges
from tracing.errors import UsageError
from workbench.view.chart import cell_of, line_chart, widest
from workbench.view.distance import distance_lines, table_lines
from workbench.view.distance_table import DistanceTable, bucket_labels, bucket_names
from workbench.view.lines import line_text, plain_text
from workbench.view.step import ViewOptions


def test_buckets_are_named_as_their_edges() -> None:
    names = "0 1 2_3 4_7 8_15 16_31 32_63 64_127 128_255 256_plus"
    assert bucket_names(DEFAULT_EDGES) == tuple(names.split())
    labels = names.replace("_plus", "+").replace("_", "\N{EN DASH}")
    assert bucket_labels(DEFAULT_EDGES) == tuple(labels.split())


def test_every_distance_falls_into_the_bucket_that_names_it() -> None:
    """Catches an edge counted on the wrong side."""
    for distance, bucket in ((0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (255, 8), (256, 9), (10**6, 9)):
        table = DistanceTable()
        table.add(np.array([[distance]]), np.array([0]))
        assert table.by_head[0].tolist() == [int(each == bucket) for each in range(10)]


def test_nodes_that_were_never_expanded_are_not_counted() -> None:
    table = DistanceTable()
    table.add(np.ma.MaskedArray([[0, 300], [0, 0]], mask=[[False, False], [True, True]]), np.array([0, 1]))
    assert table.total == 2
    assert table.far_share == pytest.approx(0.5)
    assert len(table.by_depth) == 1


def test_a_negative_distance_is_said_and_not_put_in_a_bucket() -> None:
    step = step_view(num_nodes=4, draft_top1_offsets=np.array([[-1], [0], [0], [0]]))
    assert "1 distances are below 0" in shown("distance", step)


@pytest.mark.parametrize("stated", [None, [], [0], [3, 1], [0, 0, 4], [1, 4], ["0", "1"], {"a": 1}])
def test_edges_of_a_damaged_manifest_are_the_default_ones(stated: Any) -> None:
    assert stated_edges({"distance_edges": stated}) == DEFAULT_EDGES
    assert stated_edges({"distance_edges": [0, 10, 20]}) == (0, 10, 20)


@pytest.mark.parametrize("typed", ["", "0", "1,2", "0,2,2", "0,-1", "0,x", "0,1.5", "256,0"])
def test_edges_that_are_no_edges_are_refused_with_an_example(typed: str) -> None:
    with pytest.raises(UsageError, match="0,16,64,256"):
        parse_edges(typed)
    assert parse_edges("0, 16,64") == (0, 16, 64)


def counted_table() -> DistanceTable:
    """Head 0 has a quarter at distance 3 and the rest far away; head 1 has all at 0."""
    table = DistanceTable()
    table.add(np.array([[3, 0], [300, 0], [300, 0], [300, 0]]), np.array([0, 1, 1, 2]))
    return table


def test_each_row_is_scaled_to_its_own_largest_share_and_says_it() -> None:
    lines = [line_text(line).split() for line in table_lines(counted_table(), "", 75)]
    heads = [line[2:] for line in lines if line[:1] == ["head"]]
    assert heads[0] == [*"··▃", "25", *"······█", "75", "█", "75%"]
    assert heads[1] == ["█100", *"·········█", "100%"]
    assert lines[2][-2:] == ["full", "is"]


@pytest.mark.parametrize("width", [55, 75, 100, 160])
def test_nothing_is_cut_and_the_room_is_used(width: int) -> None:
    offsets = np.ma.MaskedArray(np.arange(48).reshape(12, 4) * 9, mask=np.arange(48).reshape(12, 4) > 31)
    step = step_view(draft_top1_offsets=offsets, right={"draft_top1_offsets": offsets + 1})
    lines = distance_lines(step, ViewOptions(width=width))
    assert 0.8 * width < widest(lines) <= width
    assert "never expanded" in plain_text(lines)


def test_both_sides_are_one_picture_where_they_are_alike() -> None:
    offsets = np.arange(48).reshape(12, 4)
    alike = shown("distance", step_view(draft_top1_offsets=offsets, right={"draft_top1_offsets": offsets}))
    assert "fused and reference alike" in alike
    apart = {"draft_top1_offsets": offsets + 1}
    assert (
        shown("distance", step_view(draft_top1_offsets=offsets, right=apart)).count("by head and depth") == 2
    )


def test_heads_by_depths_hold_the_share_of_the_far_bucket() -> None:
    shares = counted_table().far_by_head_and_depth
    assert shares.tolist() == [[0, 1, 1], [0, 0, 0]]


def test_a_damaged_depth_or_head_asks_for_no_memory() -> None:
    table = DistanceTable()
    table.add_flat(np.array([1, 1]), np.array([0, 10**9]), np.array([10**9, 0]))
    assert (table.total, table.counts.shape) == (1, (1, 1, 10))


@pytest.mark.parametrize("count", [1, 7, 79, 80, 81, 400])
def test_a_line_of_values_keeps_their_order_and_its_edges(count: int) -> None:
    falling = line_chart(np.linspace(1, 0, count), 40, 2, 1.0)
    assert falling[0][0] != " "
    assert count == 1 or falling[1].rstrip()[-1] != " "
    cells = [cell_of(place, count, 40) for place in range(count)]
    assert cells == sorted(cells)
    assert 0 <= cells[0] <= cells[-1] < 40


def test_a_gap_in_the_values_is_a_gap_in_the_line() -> None:
    (row,) = line_chart(np.array([1, np.nan, 1]), 3, 1, 1.0)
    assert [each == " " for each in row] == [False, True, False]
