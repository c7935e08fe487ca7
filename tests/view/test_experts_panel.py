"""The panel of experts: loads by group, imbalance, and nodes whose experts are others on the other side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.view.steps import shown, step_view
from tracing.imbalance import imbalance

IDS = np.array([[[0, 5], [1, 5], [1, 4], [2, 3]], [[2, 5], [2, 5], [2, 5], [2, 5]]], dtype=np.int32)
"""Two layers, four nodes, one expert of 0..2 and one of 3..5."""


def experts(groups: int = 2, **columns: Any) -> str:
    facts = {"model_facts": {"num_experts": 6, "expert_groups": groups}}
    return shown("experts", replace(step_view(num_nodes=4, **columns), manifest=facts))


def loads(ids: Any) -> Any:
    return np.stack([np.bincount(each.ravel(), minlength=6) for each in ids]).astype(np.int32)


def test_loads_by_group_and_experts_of_nodes() -> None:
    text = experts(expert_ids=IDS.ravel(), expert_loads=loads(IDS).ravel())
    assert "6 experts in 2 groups" in text
    assert text.count("imbalance 0.00") == 2
    assert "busiest 2: 4 of 4 rows" in text
    assert "layer 0" in text


def test_without_groups_there_is_no_score() -> None:
    ids = IDS.copy()
    ids[0, 0] = [3, 5]
    text = experts(0, expert_ids=ids.ravel(), expert_loads=loads(ids).ravel())
    assert "imbalance" not in text
    assert "6 experts" in text


def test_what_is_not_recorded_is_said() -> None:
    assert "expert_loads was not recorded" in experts(expert_ids=IDS)
    assert "expert_ids" in experts()
    both = step_view(num_nodes=4, expert_ids=IDS, expert_loads=loads(IDS))
    assert "does not say how many" in shown("experts", both)


def test_nodes_with_other_experts_on_the_other_side_are_marked() -> None:
    other = IDS.copy()
    other[1, 2] = [0, 5]
    step = step_view(num_nodes=4, right={"expert_ids": other}, expert_ids=IDS, expert_loads=loads(IDS))
    text = shown("experts", replace(step, manifest={"model_facts": {"num_experts": 6, "expert_groups": 2}}))
    marked = [line for line in text.splitlines() if line.startswith("!")]
    assert len(marked) == 1
    assert "2" in marked[0]


def test_the_layers_that_differ_are_among_those_that_there_is_room_for() -> None:
    ids = np.tile(np.array([[0, 5], [1, 4], [2, 3]], dtype=np.int32), (30, 1, 1))
    other = ids.copy()
    other[27, 1] = [0, 4]
    step = step_view(
        num_nodes=3, right={"expert_ids": other.ravel()}, expert_ids=ids.ravel(), valid=np.ones(3, bool)
    )
    text = shown("experts", replace(step, manifest={"model_facts": {"num_experts": 6, "expert_groups": 2}}))
    assert "layer 27" in text
    assert "more layers" in text


@pytest.mark.parametrize(
    ("counts", "groups", "score"), [([2, 0, 1, 1], 2, 0.0), ([4, 0, 0, 0], 2, 2.0), ([1, 1, 1, 1], 4, 0.0)]
)
def test_the_score_is_busiest_less_idlest_over_the_rows(counts: list[int], groups: int, score: float) -> None:
    assert imbalance(counts, groups, 2) == score
    assert imbalance([0] * 4, 2, 0) == 0.0
