"""The search against the official index arithmetic, and its rules: ties, NaN, small vocabularies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference.search import DraftAttention, best, first_flat_id, follow, grow
from reference.tensorize import tensorize
from tests.reference.official import Row, official_tree
from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, DraftLevel, IntArray

VOCAB, ROOT = 9, 7
TARGET_FROM_DRAFT = torch.arange(VOCAB)


@dataclass(frozen=True)
class TableRows:
    """A drafter that looks its log-probabilities up."""

    row: Row
    paths: tuple[tuple[int, ...], ...]
    committed_kv: Tensor
    seen: DraftAttention | None = None

    @property
    def logprobs(self) -> Tensor:
        return torch.stack([self.row(path) for path in self.paths])


def _expand(rows: TableRows, parents: IntArray, token_ids: IntArray) -> TableRows:
    pairs = zip(parents, token_ids, strict=True)
    paths = tuple((*rows.paths[int(parent)], int(token)) for parent, token in pairs)
    return TableRows(rows.row, paths, rows.committed_kv)


def _grow(row: Row, settings: DecodeSettings) -> Drafted:
    first = TableRows(row, ((),), torch.zeros(1))
    return grow(first, _expand, target_from_draft=TARGET_FROM_DRAFT, root=ROOT, settings=settings)


def _random_row(seed: int, steps: int) -> Row:
    """Log-probabilities on a grid of `steps` values: the fewer, the more ties."""

    def row(path: tuple[int, ...]) -> Tensor:
        values = np.random.default_rng((seed, *path, len(path))).integers(0, steps, VOCAB)
        return -torch.from_numpy(values.astype(np.float32)) / 4

    return row


@given(
    seed=st.integers(0, 10**6),
    steps=st.sampled_from([1, 2, 5, 1000]),
    top_k=st.integers(1, 5),
    depth=st.integers(0, 4),
    tree_nodes=st.integers(2, 40),
)
def test_the_tree_is_the_official_one(seed: int, steps: int, top_k: int, depth: int, tree_nodes: int) -> None:
    """Catches a wrong flat number, a beam attached to the wrong parent, ties broken differently."""
    settings = DecodeSettings(tree_nodes=tree_nodes, depth=depth, top_k=top_k)
    drafted = _grow(_random_row(seed, steps), settings)
    oracle = official_tree(_random_row(seed, steps), ROOT, top_k, depth, tree_nodes)
    assert drafted.token_ids.tolist() == oracle.token_ids
    assert drafted.parents.tolist() == oracle.parents
    assert drafted.depths.tolist() == oracle.depths
    assert drafted.flat_ids.tolist() == oracle.flat_ids
    assert drafted.logprobs.tolist() == oracle.scores
    num_nodes = len(oracle.parents)
    laid_out = tensorize(drafted, 100, tree_nodes)
    assert np.array_equal(laid_out.visible[:num_nodes, :num_nodes], oracle.visible.numpy())
    assert laid_out.visible.sum() == int(oracle.visible.sum())
    assert laid_out.valid.tolist() == [True] * num_nodes + [False] * (tree_nodes - num_nodes)
    assert num_nodes == min(tree_nodes, 1 + top_k + depth * top_k * top_k)


@given(seed=st.integers(0, 10**6), tree_nodes=st.integers(2, 40), nan_every=st.integers(2, 9))
def test_no_child_without_its_parent(seed: int, tree_nodes: int, nan_every: int) -> None:
    """Free children (log-probability 0), minus infinity and NaN: the closest calls for the rerank."""

    def row(path: tuple[int, ...]) -> Tensor:
        values = np.random.default_rng((seed, *path, len(path))).choice([0.0, 0.0, -1.0, -np.inf], VOCAB)
        values[:: nan_every if sum(path) % 3 == 0 else VOCAB] = np.nan
        return torch.from_numpy(values.astype(np.float32))

    drafted = _grow(row, DecodeSettings(tree_nodes=tree_nodes, depth=3, top_k=3))
    parents, depths = drafted.parents, drafted.depths
    assert all(parents[node] < node for node in range(1, len(parents)))
    assert all(depths[node] == depths[parents[node]] + 1 for node in range(1, len(parents)))


def test_a_sort_that_is_not_stable_would_orphan_a_child() -> None:
    """All scores equal: the lowest flat numbers are taken, not whichever a sort leaves first."""
    drafted = _grow(lambda path: torch.zeros(VOCAB), DecodeSettings(tree_nodes=6, depth=2, top_k=3))
    assert drafted.flat_ids.tolist() == [0, 1, 2, 3, 4]
    assert drafted.parents.tolist() == [0, 0, 0, 0, 1, 1]
    assert drafted.token_ids.tolist() == [ROOT, 0, 1, 2, 0, 1]


def test_nan_comes_last_and_stays_visible() -> None:
    """A NaN never outranks a number, and a tree of nothing but NaN is still a tree, with NaN scores."""
    nan, inf = float("nan"), float("inf")
    assert best(np.array([nan, -1.0, 0.0, -inf, nan]), 5).tolist() == [2, 1, 0, 3, 4]
    drafted = _grow(lambda path: torch.full((VOCAB,), nan), DecodeSettings(tree_nodes=5, depth=1, top_k=2))
    assert drafted.parents.tolist() == [0, 0, 0, 1, 1]
    assert np.isnan(drafted.logprobs[1:]).all()


def test_scores_are_added_in_float32() -> None:
    """Ranked in float64, token 1 would come first; in an engine's float32 the two are a tie."""

    def row(path: tuple[int, ...]) -> Tensor:
        values = torch.full((VOCAB,), -9.0, dtype=torch.float64)
        values[0], values[1] = -1.0 - 2.0**-25, -1.0
        return values

    drafted = _grow(row, DecodeSettings(tree_nodes=3, depth=0, top_k=2))
    assert drafted.logprobs.dtype == np.float32
    assert drafted.token_ids.tolist() == [ROOT, 0, 1]
    assert drafted.logprobs.tolist() == [0.0, -1.0, -1.0]
    assert all(level.scores.dtype == np.float32 for level in drafted.levels)


def test_a_width_beyond_the_draft_vocabulary_is_refused() -> None:
    """It would otherwise come out as a narrower tree in silence."""
    with pytest.raises(UsageError, match="top_k should be at most the draft vocabulary 9, got 10"):
        _grow(_random_row(0, 9), DecodeSettings(top_k=10))
    _grow(_random_row(0, 9), DecodeSettings(top_k=9, depth=1))


@given(seed=st.integers(0, 10**6), top_k=st.integers(1, 4), depth=st.integers(0, 3))
def test_following_a_search_finds_its_own_scores(seed: int, top_k: int, depth: int) -> None:
    """What `follow` says of a level is what the search that it follows saw there."""
    row = _random_row(seed, 50)
    levels = _grow(row, DecodeSettings(tree_nodes=9, depth=depth, top_k=top_k)).levels
    first = TableRows(row, ((),), torch.ones(1))
    truth = follow(first, _expand, target_from_draft=TARGET_FROM_DRAFT, levels=levels)
    assert truth.committed_kv is first.committed_kv
    assert len(truth.levels) == len(levels)
    for level, said in zip(levels, truth.levels, strict=True):
        picked = said.row_logprobs.gather(1, torch.from_numpy(level.token_ids))
        assert torch.equal(picked + said.beam_logprob[:, None], torch.from_numpy(level.scores))


def _level(beams: list[int], tokens: list[list[int]]) -> DraftLevel:
    scores = np.zeros((len(tokens), len(tokens[0])), dtype=np.float32)
    return DraftLevel(
        beam_flat_ids=np.array(beams, dtype=np.int64), token_ids=np.array(tokens), scores=scores
    )


def test_following_takes_the_beams_as_they_are() -> None:
    """Beams in another order, or fewer, are walked as given; flat number 3 is rank 1 of beam 1 of level 1."""
    row = _random_row(3, 1000)
    levels = (_level([], [[4, 2]]), _level([1, 0], [[5, 6], [7, 8]]), _level([2 + 3], [[0, 1]]))
    first = TableRows(row, ((),), torch.zeros(1))
    truth = follow(first, _expand, target_from_draft=TARGET_FROM_DRAFT, levels=levels)
    assert torch.equal(truth.levels[1].row_logprobs, torch.stack([row((2,)), row((4,))]))
    assert torch.equal(truth.levels[2].row_logprobs, row((4, 8))[None])
    assert truth.levels[2].beam_logprob.tolist() == [row(())[4] + row((4,))[8]]


def test_a_token_that_cannot_be_drafted_is_worth_nothing() -> None:
    """A fused path that maps draft ids wrongly ends in minus infinity, not in a wrong neighbour's score."""
    row = _random_row(3, 1000)
    levels = (_level([], [[4, 2]]), _level([0, 1], [[5, 6], [7, 8]]))
    first = TableRows(row, ((),), torch.zeros(1))
    truth = follow(first, _expand, target_from_draft=TARGET_FROM_DRAFT + 3, levels=levels)
    assert truth.levels[1].beam_logprob.tolist() == [row(())[1], float("-inf")]


@pytest.mark.parametrize("beams", [[-1, 0], [0, 2], []])
def test_beams_that_are_no_candidates_are_refused(beams: list[int]) -> None:
    """A negative flat number must not wrap around to the last candidate."""
    levels = (_level([], [[4, 2]]), _level(beams, [[5, 6], [7, 8]]))
    first = TableRows(_random_row(3, 10), ((),), torch.zeros(1))
    with pytest.raises(UsageError, match="beams of draft level 1"):
        follow(first, _expand, target_from_draft=TARGET_FROM_DRAFT, levels=levels)


def test_flat_numbers_of_the_defaults() -> None:
    """10 candidates, then blocks of 100: the numbers that traces record."""
    assert [first_flat_id(level, 10) for level in range(4)] == [0, 10, 110, 210]
