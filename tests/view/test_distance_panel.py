"""Buckets of the drafter's attention distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.view.steps import shown, step_view
from tracing.distances import DEFAULT_EDGES, parse_edges, stated_edges
from tracing.errors import UsageError
from workbench.view.distance import DistanceTable, bucket_names


def test_buckets_are_named_as_their_edges() -> None:
    names = "0 1 2_3 4_7 8_15 16_31 32_63 64_127 128_255 256_plus"
    assert bucket_names(DEFAULT_EDGES) == tuple(names.split())


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
