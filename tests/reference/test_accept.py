"""Greedy acceptance and its cuts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.accept import accept, cut, walk
from reference.tensorize import tensorize
from tests.reference.trees import drafted_tree, random_tree
from tracing.errors import UsageError
from tracing.stages import Drafted, Tensorized

PREFIX = 100


def _chain() -> Tensorized:
    """Root 10, then 11, 12, 13 in a row, a sibling 14 of 11, and a pad."""
    return tensorize(drafted_tree([10, 11, 14, 12, 13], [0, 0, 0, 1, 3]), PREFIX, 6)


CHOICES = np.array([11, 12, 99, 13, 20, 0])


def test_the_whole_path_and_a_bonus() -> None:
    accepted = accept(_chain(), CHOICES, 50, ())
    assert accepted.accepted_nodes.tolist() == [1, 3, 4]
    assert accepted.emitted_token_ids.tolist() == [11, 12, 13, 20]
    assert accepted.final_token_id == 20
    assert accepted.path_indices.tolist() == [PREFIX, PREFIX + 1, PREFIX + 3, PREFIX + 4]
    assert accepted.stop_reason is None


def test_nothing_accepted_is_a_correction() -> None:
    accepted = accept(_chain(), np.array([77, 0, 0, 0, 0, 0]), 50, ())
    assert accepted.accepted_nodes.tolist() == []
    assert accepted.emitted_token_ids.tolist() == [77]
    assert accepted.path_indices.tolist() == [PREFIX]


@pytest.mark.parametrize(
    ("remaining", "eos", "emitted", "num_accepted", "reason"),
    [
        (5, (), [11, 12, 13, 20], 3, None),
        (4, (), [11, 12, 13, 20], 3, "length"),
        (3, (), [11, 12, 13], 2, "length"),
        (1, (), [11], 0, "length"),
        (50, (20,), [11, 12, 13, 20], 3, "eos"),
        (50, (12,), [11, 12], 1, "eos"),
        (50, (13, 12), [11, 12], 1, "eos"),
        (2, (12,), [11, 12], 1, "eos"),
        (1, (12,), [11], 0, "length"),
        (50, (14,), [11, 12, 13, 20], 3, None),
    ],
)
def test_cuts(
    remaining: int, eos: tuple[int, ...], emitted: list[int], num_accepted: int, reason: str | None
) -> None:
    """The cut token becomes the final one and A shrinks; a rejected end of sequence ends nothing."""
    accepted = accept(_chain(), CHOICES, remaining, eos)
    assert accepted.emitted_token_ids.tolist() == emitted
    assert accepted.final_token_id == emitted[-1]
    assert len(accepted.accepted_nodes) == num_accepted == len(emitted) - 1
    assert len(accepted.path_indices) == len(emitted)
    assert accepted.stop_reason == reason


def test_no_budget_is_refused() -> None:
    """A step after the end would emit a token too many."""
    with pytest.raises(UsageError, match="remaining should be at least 1, got 0"):
        accept(_chain(), CHOICES, 0, ())


def test_of_two_equal_siblings_the_lower_node_wins() -> None:
    tree = tensorize(drafted_tree([10, 11, 11], [0, 0, 0]), PREFIX, 3)
    assert walk(tree, np.array([11, 1, 2])) == [0, 1]


def test_a_pad_is_never_accepted() -> None:
    """A pad has parent 0 and a legal token: only `valid` tells it from a child of the root."""
    tree = tensorize(drafted_tree([10, 11], [0, 0]), PREFIX, 4)
    assert tree.token_ids[2] == 0
    assert walk(tree, np.array([0, 0, 0, 0])) == [0]
    unguarded = replace(tree, valid=np.ones(4, dtype=bool))
    assert walk(unguarded, np.array([0, 0, 0, 0])) != [0]


@given(seed=st.integers(0, 10**6), num_nodes=st.integers(1, 12))
def test_it_is_the_longest_root_path_of_choices(seed: int, num_nodes: int) -> None:
    """By trying every node: the accepted leaf is the deepest whose whole path the teacher chose."""
    random = np.random.default_rng(seed)
    tree = random_tree(random, num_nodes, num_nodes, 0, 3)
    choices = random.integers(0, 3, num_nodes)

    def path(node: int) -> list[int]:
        return np.flatnonzero(tree.visible[node]).tolist()

    def chosen(node: int) -> bool:
        return all(tree.token_ids[b] == choices[a] for a, b in itertools.pairwise(path(node)))

    deepest = max(len(path(node)) for node in range(num_nodes) if chosen(node))
    found = walk(tree, choices)
    assert found == path(found[-1])
    assert chosen(found[-1])
    no_twins = all(
        len({tree.token_ids[child] for child in children}) == len(children)
        for children in ([c for c in range(1, num_nodes) if tree.parents[c] == n] for n in range(num_nodes))
    )
    assert len(found) == deepest if no_twins else len(found) <= deepest


def test_cut_keeps_at_least_one_token() -> None:
    assert cut([5], 1, (5,)) == ([5], "eos")
    assert cut([5, 6], 9, ()) == ([5, 6], None)


@pytest.mark.parametrize(
    ("token_ids", "parents", "word"),
    [
        ([1, 2, 3, 4], [0, 0, 0, 0], "at most 3 nodes, got 4"),
        ([1, 2], [0, 1], "after its parent"),
        ([1], [1], "after"),
    ],
)
def test_a_tree_that_cannot_be_laid_out_is_refused(
    token_ids: list[int], parents: list[int], word: str
) -> None:
    """Too many nodes, a node that is its own parent: ancestry would not end."""
    drafted = replace(drafted_tree(token_ids, [0] * len(parents)), parents=np.array(parents))
    with pytest.raises(UsageError, match=word):
        tensorize(drafted, PREFIX, 3)


def test_tokens_and_parents_alone_make_the_same_tree() -> None:
    whole = drafted_tree([10, 11, 14, 12, 13], [0, 0, 0, 1, 3])
    bare = tensorize(Drafted(token_ids=whole.token_ids, parents=whole.parents), PREFIX, 6)
    for name in ("token_ids", "parents", "depths", "valid", "position_ids", "cache_positions", "visible"):
        assert np.array_equal(getattr(tensorize(whole, PREFIX, 6), name), getattr(bare, name)), name
    assert bare.logprobs is None
