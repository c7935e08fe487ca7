"""Static trees: the tables of both paths against the published ones, and what is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.drafters.medusa import tree_parents
from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.static_tree import WIDTH, named_trees, require_heads, static_tree
from workbench.fused.drafters.static_tree import StaticTree

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "medusa_buffers.json").read_text("utf-8"))
"""Buffers of the public builder for ten trees, and steps of its acceptance."""


def text_of(paths: list[list[int]]) -> str:
    return " ".join(".".join(map(str, path)) for path in paths)


def tables(text: str) -> StaticTree:
    return StaticTree.of(static_tree(text))


@pytest.mark.parametrize("name", GOLDEN["sets"])
def test_the_tables_are_the_public_ones(name: str) -> None:
    golden, made = GOLDEN["sets"][name], tables(text_of(GOLDEN["sets"][name]["choices"]))
    rows = ["".join(str(int(each)) for each in row) for row in made.visible]
    assert rows == golden["attn_mask_rows"]
    assert made.candidates.tolist() == golden["tree_indices"]
    assert made.depths.tolist() == golden["position_ids"]
    assert np.where(made.retrieve == made.num_nodes, -1, made.retrieve).tolist() == golden["retrieve_indices"]
    assert made.retrieve.min() == 0
    assert (
        tree_parents(DecodeSettings(static_tree=text_of(golden["choices"]))).tolist() == made.parents.tolist()
    )


@pytest.mark.parametrize("name", named_trees())
def test_named_trees_are_whole(name: str) -> None:
    made = tables(name)
    golden = GOLDEN["sets"].get(name)
    assert golden is None or made.num_nodes == golden["T"]
    assert {"pangu_stage2": 57, "pangu_5heads_top10": 65}.get(name, 64) == made.num_nodes


STEPS = [
    case for case in GOLDEN["step_cases"] if case["tree"] in GOLDEN["sets"] or case["tree"] in named_trees()
]


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_step_accepts_as_the_public_code_but_never_a_pad(number: int) -> None:
    """Catches a token past a leaf, which the public code accepts where the leaf's choice is token 0."""
    case: dict[str, Any] = STEPS[number]
    golden = GOLDEN["sets"].get(case["tree"])
    made = tables(case["tree"] if golden is None else text_of(golden["choices"]))
    tokens = np.array(case["tree_candidates"])
    chosen = np.array([int(np.argmax(row)) for row in case["node_logits"]])
    path = made.accepted(tokens, chosen)
    if case["accepts_past_leaf"]:
        assert len(path) - 1 < case["accept_length"]
        assert path.max() < made.num_nodes
    else:
        assert tokens[path].tolist() == case["appended_ids"]
        assert (case["prev_len"] + path).tolist() == case["select_indices"]
        assert int(chosen[path[-1]]) == case["next_root_token"]


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[int, ...]]:
    paths: list[tuple[int, ...]] = [(draw(st.integers(0, WIDTH - 1)),)]
    for _ in range(draw(st.integers(0, 12))):
        above = draw(st.sampled_from([(), *paths]))
        paths.append((*above, draw(st.integers(0, WIDTH - 1))))
    return draw(st.permutations(list(dict.fromkeys(paths))))


@given(paths=trees(), data=st.data())
def test_one_gather_accepts_what_a_walk_down_the_tree_accepts(
    paths: list[tuple[int, ...]], data: st.DataObject
) -> None:
    made = tables(text_of([list(path) for path in paths]))
    tokens = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=made.num_nodes, max_size=made.num_nodes))
    )
    chosen = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=made.num_nodes, max_size=made.num_nodes))
    )
    path = made.accepted(tokens, chosen)
    assert path[0] == 0
    for above, node in pairwise(path):
        assert made.parents[node] == above
        assert tokens[node] == chosen[above]
    # No path is longer.
    for node in range(made.num_nodes):
        line = np.flatnonzero(made.visible[node])
        follows = all(tokens[line[i + 1]] == chosen[line[i]] for i in range(len(line) - 1))
        assert not follows or len(line) <= len(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "one of mc_sim_7b_63, .* or paths like"),
        ("nothing_63", "got 'nothing_63'"),
        ("0 0", "name each path once, got 0 twice"),
        ("0 1.0", r"the path above each path, got 1\.0 without 1"),
        ("0.0", r"got 0\.0 without 0"),
        ("0 10", "below 10, got 10"),
        ("0 -1", "got '-1'"),
        ("0 0.", r"got '0\.'"),
    ],
)
def test_what_is_no_tree_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        static_tree(text)


def test_a_tree_deeper_than_the_heads_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 2 deep, one level per head, got 3"):
        require_heads(static_tree("0 0.0 0.0.0"), 2)


def test_tables_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        tables("0 1").parents[0] = 1
