"""Several steps of a context in one forward give what each gives alone, and none sees another's tree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import masked
from reference.kept import KeptRows, KeptRung, kept_rung
from reference.model import ReferenceModels
from reference.rungs import MASKED
from reference.search import DraftContext
from reference.stacked import TreeAt
from tests.pairs import tiny_pair
from tests.reference.trees import random_tree
from tracing.models import ModelPair
from tracing.settings import DecodeSettings

CLOSE: dict[str, Any] = {"atol": 1e-10, "rtol": 0.0}
"""Sums of float64 in another order; a row that sees one key too many moves a logit by more than 1e-3."""
PAIRS = [
    tiny_pair(1),
    tiny_pair(2, "qwen3", layers=3, sliding_window=4, windowed_layers=(1,), drafter_window=3),
]


def trees_at(random: np.random.Generator, lengths: list[int]) -> list[TreeAt]:
    made = [(length, random_tree(random, 4, 5, length, 40)) for length in lengths]
    return [TreeAt(length, tree.token_ids, tree.position_ids, tree.visible) for length, tree in made]


def alone(models: ReferenceModels, tokens: list[int], tree: TreeAt) -> Any:
    given_tree = tree.token_ids, tree.position_ids, tree.visible
    return masked.verify(models, tokens[: tree.num_committed], *given_tree)


def assert_same(rows: Any, expected: Any) -> None:
    for name in ("logits", "features", "kv"):
        torch.testing.assert_close(getattr(rows, name), getattr(expected, name), **CLOSE)
    assert torch.equal(rows.visible, expected.visible)


@settings(max_examples=12)
@given(
    pair=st.sampled_from(PAIRS),
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 14), min_size=1, max_size=4),
    past=st.integers(0, 14),
)
def test_trees_of_a_context(pair: ModelPair, seed: int, lengths: list[int], past: int) -> None:
    random = np.random.default_rng(seed)
    models, kept, tokens = ReferenceModels(pair, "float64"), KeptRows(), random.integers(0, 40, 14).tolist()
    if past:
        kept.prefill(models, tokens[:past])
    trees = trees_at(random, lengths)
    stacked = kept.verify_stacked(models, tokens[: max(lengths)], trees)
    assert stacked is not None
    for rows, tree in zip(stacked, trees, strict=True):
        assert_same(rows, alone(models, tokens, tree))
    torch.testing.assert_close(
        kept.features(models, tokens), MASKED.prefill(models, tokens).features, **CLOSE
    )


def test_a_tree_that_sees_too_much_would_be_seen() -> None:
    """The comparison above can fail: one more committed token is another row."""
    models, random = ReferenceModels(tiny_pair(1), "float64"), np.random.default_rng(0)
    tokens, (tree,) = list(range(8)), trees_at(random, [5])
    rows = KeptRows().verify_stacked(models, tokens, [replace(tree, num_committed=6)])
    assert rows is not None
    assert (rows[0].logits - alone(models, tokens, tree).logits).abs().max() > 1e-3


def test_values_that_are_not_finite_are_not_stacked() -> None:
    models, random = ReferenceModels(tiny_pair(1), "float64"), np.random.default_rng(0)
    models.teacher_weights["model.embed_tokens.weight"][39] = torch.nan
    first, second = trees_at(random, [3, 5])
    broken = replace(second, token_ids=np.full(5, 39))
    assert KeptRows().verify_stacked(models, list(range(5)), [first, broken]) is None


def draft_model_pair() -> ModelPair:
    pair, draft = tiny_pair(3), tiny_pair(4, vocab=64)
    weights = draft.teacher_weights
    return replace(
        pair, drafter=draft.teacher, drafter_weights=weights, target_from_draft=None, proposer="draft_model"
    )


@pytest.mark.parametrize("pair", [*PAIRS, draft_model_pair()], ids=["eagle3", "windows", "draft_model"])
@pytest.mark.parametrize("kept_first", [0, 6])
def test_drafts_of_several_steps_of_a_context(pair: ModelPair, kept_first: int) -> None:
    """First rows below three roots, then two levels of beams under them, against each step alone."""
    random = np.random.default_rng(5)
    models, rung, choice = ReferenceModels(pair, "float64"), kept_rung(), DecodeSettings(depth=2, top_k=2)
    assert isinstance(rung, KeptRung)
    tokens = random.integers(0, 40, 13).tolist()
    features = MASKED.prefill(models, tokens[:-1]).features
    together, one = rung.search(models), MASKED.search(models)
    assert together is not None
    assert one is not None
    assert together.begin_at is not None
    lengths = [4, 7, 12]
    if kept_first:
        together.begin(models, DraftContext(tokens[:6], tokens[6], features[:6]), choice)
    rows = together.begin_at(models, DraftContext(tokens[:-1], tokens[-1], features), lengths, choice)
    beams, drafted = np.array([0, 1, 1, 2]), np.array([5, 6, 7, 8])
    levels = [rows]
    for parents in (beams, np.array([0, 1, 2, 3])):
        levels.append(together.expand(levels[-1], parents, drafted))
    for number, length in enumerate(lengths):
        context = DraftContext(tokens[:length], tokens[length], features[:length])
        alone_rows = one.begin(models, context, choice)
        own = beams == number
        torch.testing.assert_close(levels[0].logprobs[[number]], alone_rows.logprobs, **CLOSE)
        parents = np.zeros(int(own.sum()), dtype=np.int64)
        for level in levels[1:]:
            alone_rows = one.expand(alone_rows, parents, drafted[own])
            torch.testing.assert_close(level.logprobs[own], alone_rows.logprobs, **CLOSE)
            parents = np.arange(int(own.sum()))
    again = together.begin(models, DraftContext(tokens[:-1], tokens[-1], features), choice)
    fresh = one.begin(models, DraftContext(tokens[:-1], tokens[-1], features), choice)
    torch.testing.assert_close(again.logprobs, fresh.logprobs, **CLOSE)
