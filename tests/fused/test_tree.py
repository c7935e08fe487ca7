"""Tensorize and accept: laws over random trees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fused.support import fused_path, small_pair
from tracing.errors import ContractError, UsageError
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, NullWatch, Verified
from workbench.fused.accept import accept
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.cache.manager import CacheManager
from workbench.fused.tensorize import ancestor_table, tensorize

NUM_ROWS, COMMITTED_LEN = 12, 7
PAD_TOKEN = 5  # one that the teacher may well choose: a pad must still never be accepted
ENGINE: Any = SimpleNamespace(
    static_tree=None,
    settings=DecodeSettings(tree_nodes=NUM_ROWS, depth=5, top_k=4),
    pad_token_id=PAD_TOKEN,
    eos_token_ids=frozenset({9}),
)
STATE: Any = SimpleNamespace(
    committed_len=COMMITTED_LEN,
    watch=NullWatch(),
    caches=CacheManager(ContiguousCache(1)),
    chooser=None,
)


@st.composite
def trees(draw: st.DrawFn) -> Drafted:
    """Trees with parents first, tokens from a small alphabet, distinct among siblings."""
    parents, depths, tokens = [0], [0], [draw(st.integers(0, 8))]
    taken = set()
    for node in range(1, draw(st.integers(1, NUM_ROWS))):
        parent = draw(st.integers(0, node - 1).filter(lambda parent: depths[parent] < 6))
        token = draw(st.sampled_from([token for token in range(13) if (parent, token) not in taken]))
        taken.add((parent, token))
        parents.append(parent)
        depths.append(depths[parent] + 1)
        tokens.append(token)
    none = np.zeros(0, np.int64)
    return Drafted(
        token_ids=np.array(tokens),
        parents=np.array(parents),
        depths=np.array(depths),
        logprobs=-np.arange(len(parents), dtype=np.float32),
        flat_ids=none,
        levels=(),
    )


@given(trees())
def test_tokens_and_parents_alone_make_the_same_tree(drafted: Drafted) -> None:
    whole = tensorize(ENGINE, STATE, drafted)
    bare = tensorize(ENGINE, STATE, Drafted(token_ids=drafted.token_ids, parents=drafted.parents))
    for name in ("token_ids", "parents", "depths", "valid", "position_ids", "cache_positions", "visible"):
        assert np.array_equal(getattr(whole, name), getattr(bare, name)), name
    assert bare.logprobs is None


def ancestors(parents: np.ndarray[Any, Any], node: int) -> set[int]:
    """The node and everything above it, by walking up."""
    found = {node}
    while node:
        node = int(parents[node])
        found.add(node)
    return found


@given(drafted=trees())
def test_visible_is_the_walk_up_and_pads_are_cut_off(drafted: Drafted) -> None:
    tree = tensorize(ENGINE, STATE, drafted)
    num_nodes = len(drafted.token_ids)
    num_rows = NUM_ROWS if num_nodes > 1 else 1
    for node in range(num_rows):
        expected = ancestors(drafted.parents, node) if node < num_nodes else set()
        assert set(np.flatnonzero(tree.visible[node])) == expected
    assert tree.valid.tolist() == [row < num_nodes for row in range(num_rows)]
    assert np.array_equal(tree.position_ids, COMMITTED_LEN + tree.depths)
    assert np.array_equal(tree.cache_positions, COMMITTED_LEN + np.arange(num_rows))
    pads = slice(num_nodes, None)
    assert np.all(tree.token_ids[pads] == PAD_TOKEN)
    assert not tree.parents[pads].any()
    assert not tree.depths[pads].any()
    assert not tree.logprobs[pads].any()


@given(drafted=trees())
def test_the_ancestor_table_ends_at_the_root(drafted: Drafted) -> None:
    table = ancestor_table(drafted.parents, 6)
    assert np.array_equal(table[0], np.arange(len(drafted.parents)))
    assert np.array_equal(table[1:], drafted.parents[table[:-1]])
    assert not table[-1].any()


@pytest.mark.parametrize("wrong", [-1, NUM_ROWS])
def test_a_parent_outside_the_tree_is_refused(wrong: int) -> None:
    """numpy would wrap -1 to the last node in silence; the device reads foreign memory."""
    drafted = Drafted(
        token_ids=np.array([1, 2]),
        parents=np.array([0, wrong]),
        depths=np.array([0, 1]),
        logprobs=np.zeros(2, np.float32),
        flat_ids=np.zeros(1, np.int64),
        levels=(),
    )
    with pytest.raises(ContractError, match="parents is"):
        tensorize(ENGINE, STATE, drafted)


def test_a_node_below_a_pad_does_not_see_it() -> None:
    """Validity closure: a parent in range but among the pads is malformed, and its pad stays cut off."""
    drafted = Drafted(
        token_ids=np.array([1, 2]),
        parents=np.array([0, 7]),
        depths=np.array([0, 1]),
        logprobs=np.zeros(2, np.float32),
        flat_ids=np.zeros(1, np.int64),
        levels=(),
    )
    tree = tensorize(ENGINE, STATE, drafted)
    assert np.flatnonzero(tree.visible[1]).tolist() == [0, 1]
    assert not tree.visible[:, 2:].any()


def verified(targets: np.ndarray[Any, Any]) -> Verified:
    nothing = np.zeros(0, np.int64)
    return Verified(
        visible=np.zeros((0, 0), np.bool_),
        prefix_visible=nothing,
        other_visible=nothing,
        logits=None,
        target_token_ids=targets,
        features=None,
    )


@given(
    drafted=trees(),
    targets=st.lists(st.integers(0, 12), min_size=NUM_ROWS, max_size=NUM_ROWS),
    follow=st.integers(0, NUM_ROWS),
    remaining=st.integers(1, 8),
)
def test_accept_is_the_longest_agreeing_walk_cut_at_eos_and_budget(
    drafted: Drafted, targets: list[int], follow: int, remaining: int
) -> None:
    """`follow` makes the teacher agree with one drafted path, so that long acceptances are common."""
    choice = np.array(targets)
    for node in sorted(ancestors(drafted.parents, follow % len(drafted.parents)) - {0}):
        choice[drafted.parents[node]] = drafted.token_ids[node]
    tree = tensorize(ENGINE, STATE, drafted)
    accepted = accept(ENGINE, STATE, tree, verified(choice), remaining)

    text, node = [], 0  # what token after token would have given
    children = {
        (int(parent), int(token)): child
        for child, (parent, token) in enumerate(zip(drafted.parents, drafted.token_ids, strict=True))
        if child
    }
    path = [0]
    while True:
        text.append(int(choice[node]))
        if text[-1] == 9 or len(text) == remaining or (node, text[-1]) not in children:
            break
        node = children[node, text[-1]]
        path.append(node)
    assert accepted.emitted_token_ids.tolist() == text
    assert accepted.accepted_nodes.tolist() == path[1:]
    assert accepted.final_token_id == text[-1]
    assert accepted.path_indices.tolist() == [COMMITTED_LEN + node for node in path]
    stop = "eos" if text[-1] == 9 else "length" if len(text) == remaining else None
    assert accepted.stop_reason == stop


def test_no_room_is_a_usage_error() -> None:
    path = fused_path(small_pair(1))
    with pytest.raises(UsageError, match="remaining=0"):
        path.stages.accept(path.begin(NullWatch()), None, None, 0)


def test_a_pad_is_never_accepted() -> None:
    """By their numbers pads are children of the root; the walk must not step onto one."""
    drafted = Drafted(
        token_ids=np.array([1, 2]),
        parents=np.array([0, 0]),
        depths=np.array([0, 1]),
        logprobs=np.zeros(2, np.float32),
        flat_ids=np.zeros(1, np.int64),
        levels=(),
    )
    tree = tensorize(ENGINE, STATE, drafted)
    accepted = accept(ENGINE, STATE, tree, verified(np.full(NUM_ROWS, PAD_TOKEN)), 8)
    assert accepted.accepted_nodes.tolist() == []
    assert accepted.emitted_token_ids.tolist() == [PAD_TOKEN]
