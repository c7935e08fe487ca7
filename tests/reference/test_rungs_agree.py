"""Rung agreement: replay, masked and cached are three roads to the same numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import cached, masked, replay
from reference.arithmetic import Arithmetic
from reference.attention import attention
from reference.model import ReferenceModels
from reference.rungs import CACHED, MASKED, REPLAY, RUNGS, rung_named
from reference.tensorize import tensorize
from tests.pairs import tiny_pair
from tests.reference.trees import drafted_tree, random_tree
from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.stages import NullWatch

# float64 roundings (1e-16) through sums of at most 100 terms of size 10, three layers deep, stay below 1e-11;
# a wrong position, ancestor or cache row moves a logit by more than 1e-3.
CLOSE: dict[str, Any] = {"atol": 1e-10, "rtol": 0.0}

PAIRS = st.builds(
    tiny_pair,
    seed=st.integers(0, 10**6),
    model_type=st.sampled_from(["llama", "qwen2", "qwen3", "mistral", "PanguEmbedded"]),
    layers=st.integers(1, 3),
    kv_heads=st.sampled_from([1, 2, 4]),
    vocab=st.just(48),
    draft_vocab=st.just(24),
    sliding_window=st.sampled_from([None, 3, 50]),
    norm_before_residual=st.booleans(),
    norm_output=st.booleans(),
    fc_norm=st.booleans(),
    drafter_qk_norm=st.booleans(),
)


@settings(max_examples=20)
@given(pair=PAIRS, seed=st.integers(0, 10**6), prefix=st.integers(1, 12), num_nodes=st.integers(1, 9))
def test_verify(pair: Any, seed: int, prefix: int, num_nodes: int) -> None:
    """Catches a mask that lets a sibling in, a position that counts rows, not depth, a cache row off."""
    random = np.random.default_rng(seed)
    models = ReferenceModels(pair, "float64")
    committed = random.integers(0, 48, prefix).tolist()
    tree = random_tree(random, num_nodes, num_nodes + 2, prefix, 48)
    inputs = (models, committed, tree.token_ids, tree.position_ids, tree.visible)
    first, *others = [rung.verify(*inputs) for rung in (REPLAY, MASKED, CACHED)]
    reuse = cached.verify(*inputs, prefix_kv=MASKED.prefill(models, committed).kv)
    for other in (*others, reuse):
        torch.testing.assert_close(first.logits[:num_nodes], other.logits[:num_nodes], **CLOSE)
        torch.testing.assert_close(first.features[:num_nodes], other.features[:num_nodes], **CLOSE)
        torch.testing.assert_close(first.kv[:, :, :, :num_nodes], other.kv[:, :, :, :num_nodes], **CLOSE)
        assert torch.equal(first.visible[:num_nodes], other.visible[:num_nodes])
        assert torch.isfinite(other.logits).all()


@settings(max_examples=12)
@given(pair=PAIRS, seed=st.integers(0, 10**6), prefix=st.integers(1, 12), window=st.sampled_from([0, 2, 5]))
def test_draft(pair: Any, seed: int, prefix: int, window: int) -> None:
    """Free search and fed levels: the same beams, tokens and log-probabilities on every rung."""
    random = np.random.default_rng(seed)
    models = ReferenceModels(pair, "float64")
    committed = random.integers(0, 48, prefix).tolist()
    features = torch.from_numpy(random.standard_normal((prefix, 96)))
    choice = DecodeSettings(tree_nodes=12, depth=3, top_k=3, window=window)
    drafts = [rung.draft(models, committed, 5, features, choice) for rung in RUNGS.values()]
    truths = [
        rung.replay_levels(models, committed, 5, features, choice, levels=drafts[0].levels)
        for rung in RUNGS.values()
    ]
    for drafted in drafts[1:]:
        assert drafted.token_ids.tolist() == drafts[0].token_ids.tolist()
        assert drafted.parents.tolist() == drafts[0].parents.tolist()
        np.testing.assert_allclose(drafted.logprobs, drafts[0].logprobs, rtol=1e-6)
    for truth in truths[1:]:
        torch.testing.assert_close(truth.committed_kv, truths[0].committed_kv, **CLOSE)
        for mine, theirs in zip(truth.levels, truths[0].levels, strict=True):
            torch.testing.assert_close(mine.row_logprobs, theirs.row_logprobs, **CLOSE)
            torch.testing.assert_close(mine.beam_logprob, theirs.beam_logprob, **CLOSE)


FAULTS = {
    "a sibling is visible": lambda tree: replace(tree, visible=_set(tree.visible, (3, 2))),
    "a position is one too high": lambda tree: replace(tree, position_ids=_add(tree.position_ids, 3)),
    "a token is another": lambda tree: replace(tree, token_ids=_add(tree.token_ids, 1)),
}


def _set(array: Any, where: Any) -> Any:
    changed = array.copy()
    changed[where] = True
    return changed


def _add(array: Any, where: int) -> Any:
    changed = array.copy()
    changed[where] += 1
    return changed


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_tree_moves_the_node_below_it(fault: str) -> None:
    """The comparison above can fail, and only where the fault reaches: node 3 hangs under node 1."""
    models = ReferenceModels(tiny_pair(1), "float64")
    committed = [3, 1, 4, 1, 5]
    tree = replace(
        random_tree(np.random.default_rng(0), 4, 4, 5, 64),
        parents=np.array([0, 0, 0, 1]),
        position_ids=np.array([5, 6, 6, 7]),
        visible=np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]], dtype=bool),
    )
    broken = FAULTS[fault](tree)
    right = REPLAY.verify(models, committed, tree.token_ids, tree.position_ids, tree.visible)
    wrong = MASKED.verify(models, committed, broken.token_ids, broken.position_ids, broken.visible)
    off = (right.logits - wrong.logits).abs().amax(dim=1)
    assert off[3] > 1e-3
    assert off[[0, 2]].max() < 1e-10


def test_a_stale_cache_row_is_seen() -> None:
    """A commit that keeps the wrong node's row changes the next step."""
    models = ReferenceModels(tiny_pair(1), "float64")
    committed = [3, 1, 4, 1, 5]
    tree = tensorize(drafted_tree([9, 8, 7], [0, 0, 0]), 5, 3)
    kv = MASKED.prefill(models, committed).kv
    rows = cached.verify(models, [], tree.token_ids, tree.position_ids, tree.visible, prefix_kv=kv)
    kept = [*committed, 9, 7]
    one = np.array([5]), np.array([7]), np.ones((1, 1), dtype=bool)
    truth = REPLAY.verify(models, kept, *one).logits
    good = cached.verify(models, [], *one, prefix_kv=cached.compact(kv, rows.kv, np.array([0, 2]))).logits
    stale = cached.verify(models, [], *one, prefix_kv=cached.compact(kv, rows.kv, np.array([0, 1]))).logits
    torch.testing.assert_close(good, truth, **CLOSE)
    assert (stale - truth).abs().max() > 1e-3


def test_replay_can_run_single_nodes_and_ignores_positions() -> None:
    """An arbiter asks for one node; what it says must not depend on the positions under suspicion."""
    models = ReferenceModels(tiny_pair(1), "float64")
    tree = random_tree(np.random.default_rng(2), 6, 8, 3, 64)
    every = replay.verify(models, [1, 2, 3], tree.token_ids, tree.position_ids + 9, tree.visible)
    alone = replay.verify(models, [1, 2, 3], tree.token_ids, tree.position_ids, tree.visible, nodes=[4])
    assert torch.equal(every.logits[4], alone.logits[4])
    assert alone.logits[[0, 1, 2, 3, 5]].abs().max() == 0
    assert every.logits[6:].abs().max() == 0  # pads


def test_a_row_that_sees_nothing_comes_out_zero() -> None:
    """Softmax over nothing is NaN, which would spread from a pad to every other row's report."""
    query, key = torch.randn(2, 2, 4), torch.randn(2, 3, 4)
    visible = torch.tensor([[False, False, False], [True, False, False]])
    mixed = attention(query, key, key, visible, Arithmetic())
    assert mixed[:, 0].abs().max() == 0
    assert torch.equal(mixed[:, 1], key[:, 0])


def test_prefix_rows_on_request() -> None:
    """The judge compares K and V of the prefix too: they are those of the prompt alone."""
    models = ReferenceModels(tiny_pair(1), "float64")
    tree = random_tree(np.random.default_rng(2), 6, 6, 3, 64)
    whole = masked.verify_with_prefix(models, [1, 2, 3], tree.token_ids, tree.position_ids, tree.visible)
    torch.testing.assert_close(whole.kv[:, :, :, :3], MASKED.prefill(models, [1, 2, 3]).kv, **CLOSE)
    assert whole.logits.shape[0] == 6
    assert whole.visible.shape == (9, 9)


def test_what_the_drafter_looks_at_is_told() -> None:
    """The watch gets one call per level, with the rotated rows that give back the same attention."""
    calls: list[dict[str, Any]] = []

    class Watch(NullWatch):
        def saw_draft_attention(self, **given: Any) -> None:
            calls.append(given)

    models = ReferenceModels(tiny_pair(1), "float64")
    choice = DecodeSettings(tree_nodes=8, depth=2, top_k=3, window=4)
    features = torch.randn(6, 96, dtype=torch.float64)
    for rung in (MASKED, CACHED):
        calls.clear()
        drafted = rung.draft(models, [1, 2, 3, 4, 5, 6], 7, features, choice, watch=Watch())
        assert [call["flat_ids"].tolist() for call in calls] == [
            level.beam_flat_ids.tolist() for level in drafted.levels
        ]
        assert [call["query_positions"].tolist() for call in calls] == [[5], [6] * 3, [7] * 3]
        last = calls[-1]
        assert last["query"].shape == (4, 3, 8)
        assert last["key"].shape == (2, 12, 8)
        assert last["key_positions"].tolist() == [*range(6), 6, 6, 6, 7, 7, 7]
        # three positions back and itself: rows 4 and 5, one ancestor at 6, itself at 7
        assert last["visible"].sum(dim=1).tolist() == [4, 4, 4]
        assert last["visible"][:, :4].sum() == 0


def test_tensorized_free_draft_verifies() -> None:
    """Search, layout and verification fit together on a tree that was really drafted, pads included."""
    models = ReferenceModels(tiny_pair(3), "float64")
    prompt = [1, 2, 3, 4]
    rows = MASKED.prefill(models, prompt)
    choice = DecodeSettings(tree_nodes=20, depth=1, top_k=3)
    drafted = MASKED.draft(models, prompt, int(rows.logits[0].argmax()), rows.features, choice)
    tree = tensorize(drafted, len(prompt), 20)
    assert tree.valid.sum() == 13
    results = [
        rung.verify(models, prompt, tree.token_ids, tree.position_ids, tree.visible)
        for rung in (REPLAY, MASKED)
    ]
    torch.testing.assert_close(results[0].logits[:13], results[1].logits[:13], **CLOSE)


def test_unknown_names_are_refused() -> None:
    """A typing slip must not fall back to another rung or dtype."""
    with pytest.raises(UsageError, match="rung should be one of replay, masked, cached, got 'mask'"):
        rung_named("mask")
    with pytest.raises(UsageError, match="dtype should be one of"):
        ReferenceModels(tiny_pair(1), "fp32")
