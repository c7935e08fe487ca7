"""Where in a value something is, in words: without its key, head or rank nobody finds it."""

from __future__ import annotations

import numpy as np
import pytest

from tracing.finding import Finding
from tracing.moment import Moment
from workbench.judge.places import both_values, entry, entry_or_end, named, node_at, place_name


@pytest.mark.parametrize(
    ("column", "place", "expected"),
    [
        ("visible", (2, 7), "visible of node 2, key 7"),
        ("draft_top1_offsets", (4, 1), "draft_top1_offsets of node 4, head 1"),
        ("target_top_ids", (3, 0), "target_top_ids of node 3, rank 0"),
        ("position_ids", (5,), "position_ids of node 5"),
        ("context_token_ids", (9,), "context_token_ids of position 9"),
        ("beam_flat_ids", (6,), "beam_flat_ids of entry 6"),
        ("group_slots", (1, 2), "group_slots of group 1, node 2"),
        ("committed_len", (), "committed_len"),
        ("logits of a port", (3,), "logits of a port of entry 3"),
    ],
)
def test_a_place_is_named_by_its_axes(column: str, place: tuple[int, ...], expected: str) -> None:
    assert named(column, place) == expected


def test_a_node_is_found_behind_another_axis() -> None:
    assert node_at(("G", "N"), (1, 2)) == 2
    assert node_at(("A",), (1,)) is None
    assert place_name(("n", "V"), (1, 9)) == "node 1, token 9"


def test_entries_are_short_and_nulls_are_told() -> None:
    hidden = np.ma.array([[1, 2], [3, 4]], mask=[[False, True], [False, False]])
    assert (entry(hidden, (0, 1)), entry(hidden, (1, 0)), entry(None)) == ("null", "3", "null")
    assert entry(np.arange(3)) == "[0, 1, 2]"
    assert entry(np.arange(40)).startswith("40 values: [0, 1,")
    assert entry_or_end([5, 6], 2) == "the end (it has 2)"


def test_values_are_told_as_far_as_there_are_any() -> None:
    at = Moment(0, 0, 1, "verify", 2)
    assert both_values(Finding("structural", "fused", at, "slots", fused=40)) == "fused 40"
    assert (
        both_values(Finding("structural", "fused", at, "slots", fused=1, reference=2))
        == "fused 1, expected 2"
    )
    assert both_values(Finding("structural", "fused", at, "weights")) == ""
    found = Finding("structural", "reference", at, "slots", reference=7, path="reference")
    assert both_values(found) == "reference 7"
