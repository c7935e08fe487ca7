"""Drafting: the official search, the drafter's own cache, and what the watch is told."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.fused.support import fused_path, small_pair, start, with_soft_drafter
from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from tracing.stages import NullWatch
from workbench.fused.attention import AttentionCall
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.drafters.search import best_in_order, stable_top_k

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
SETTINGS = DecodeSettings(tree_nodes=16, depth=3, top_k=4)

FLAGS = {
    "official": {},
    "norm before residual": {"norm_before_residual": True},
    "normed output": {"norm_output": True},
    "norm per feature": {"fc_norm": True},
    "norm before fc": {"norm_before_fc": True},
    "head norms": {"drafter_qk_norm": True},
    "biases": {"drafter_qkv_bias": True, "drafter_o_bias": True},
}


class Ear(NullWatch):
    """Keeps what draft attention was given."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def saw_draft_attention(self, **given: Any) -> None:
        self.heard.append({name: np.asarray(value).copy() for name, value in given.items()})


def engine_of(path: Any) -> Any:
    return path.stages.draft.args[0]


def beam_paths(levels: Any, top_k: int) -> list[list[list[int]]]:
    """Tokens from below the root to each expanded beam, level by level."""
    paths: list[list[list[int]]] = [[[]]]
    for before, level in pairwise(levels):
        first = 0 if len(paths) == 1 else top_k + (len(paths) - 2) * top_k * top_k
        places = level.beam_flat_ids - first
        tokens = before.token_ids.ravel()
        paths.append([[*paths[-1][place // top_k], int(tokens[place])] for place in places])
    return paths


@torch.no_grad()
def log_probs_by_replay(
    path: Any, features: torch.Tensor, tokens: list[int], drafted: list[int]
) -> torch.Tensor:
    """Log-probabilities after `drafted`: an ordinary causal sequence, a fresh cache, eager attention."""
    drafter, call = engine_of(path).drafter.network, AttentionCall(fused=False, causal=True)
    cache, num_rows = ContiguousCache(1), len(tokens)
    rows = drafter.forward(
        torch.tensor(tokens), drafter.fuse(features), torch.arange(num_rows), cache, call, last_only=True
    )
    for depth, token in enumerate(drafted):
        position = torch.tensor([num_rows + depth])
        rows = drafter.forward(torch.tensor([token]), rows.hidden, position, cache, call)
    return rows.logits[0].float().log_softmax(-1)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_every_beam_scores_as_a_sequence_of_its_own(flags: dict[str, bool]) -> None:
    """Catches a sibling seen by a beam, a stale row in the drafter's cache and a shifted position.

    Scores are sums of a few float32 log-probabilities below 20: 1e-4 is 50 ulp, a wrong row gives 1e-2.
    """
    pair = with_soft_drafter(small_pair(5, **flags))
    run = start(fused_path(pair, SETTINGS), PROMPT)
    features, draft_from_target = [run.prefilled.features], pair.target_from_draft.tolist().index
    for _ in range(3):
        step = run.step()
        tokens = [*PROMPT[1:], *run.emitted[: len(run.emitted) - len(step.accepted.emitted_token_ids)]]
        for level, paths in zip(step.drafted.levels, beam_paths(step.drafted.levels, 4), strict=True):
            for beam, drafted in enumerate(paths):
                log_probs = log_probs_by_replay(run.path, torch.cat(features), tokens, drafted)
                own = [
                    log_probs_by_replay(run.path, torch.cat(features), tokens, drafted[:depth])[
                        draft_from_target(token)
                    ]
                    for depth, token in enumerate(drafted)
                ]
                expected = sum(own, torch.zeros(())) + log_probs.topk(4).values
                torch.testing.assert_close(torch.tensor(level.scores[beam]), expected, rtol=0, atol=1e-4)
                best = pair.target_from_draft[log_probs.topk(4).indices]
                assert level.token_ids[beam].tolist() == best.tolist()
        features.append(step.verified.features[[0, *step.accepted.accepted_nodes]])


def test_the_tree_is_the_best_of_all_candidates_with_their_parents() -> None:
    for seed in range(6):
        drafted = start(fused_path(small_pair(seed), SETTINGS), PROMPT).step().drafted
        scores = np.concatenate([level.scores.ravel() for level in drafted.levels])
        assert scores.size == 4 + 3 * 16
        assert len(drafted.token_ids) == 16
        assert drafted.logprobs[1:].min() >= np.sort(scores)[::-1][14]
        assert np.all(np.diff(drafted.flat_ids) > 0)
        assert np.array_equal(drafted.depths[1:], drafted.depths[drafted.parents[1:]] + 1)
        assert np.all(drafted.logprobs[1:] <= drafted.logprobs[drafted.parents[1:]])
        siblings = set(zip(drafted.parents[1:], drafted.token_ids[1:], strict=True))
        assert len(siblings) == 15, "a parent has the same child twice"


def test_beams_are_the_best_of_their_level() -> None:
    drafted = start(fused_path(small_pair(3), SETTINGS), PROMPT).step().drafted
    for number, (before, level) in enumerate(pairwise(drafted.levels)):
        first = 0 if number == 0 else 4 + (number - 1) * 16
        best = np.argsort(-before.scores.ravel(), kind="stable")[:4]
        assert np.array_equal(level.beam_flat_ids, first + best)


def test_drafting_twice_gives_the_same_tree() -> None:
    """A draft leaves the drafter's cache at the committed rows, so that it can be repeated."""
    run = start(fused_path(small_pair(5), SETTINGS), PROMPT)
    run.step()
    first, second = (run.path.stages.draft(run.state) for _ in range(2))
    assert np.array_equal(first.token_ids, second.token_ids)
    assert np.array_equal(first.logprobs, second.logprobs)
    assert run.path.kv_lengths(run.state, "drafter") == (run.state.committed_len,)


def test_the_watch_hears_every_expansion() -> None:
    """Shapes, positions and visibility are those of `tracing.stages.StageWatch.saw_draft_attention`."""
    ear = Ear()
    run = start(fused_path(small_pair(5), SETTINGS), PROMPT, watch=ear)
    drafted, committed_len = run.step().drafted, len(PROMPT)
    root, *expansions = ear.heard
    assert root["flat_ids"].size == 0
    assert root["query"].shape == (4, 1, 16)
    assert root["query_positions"].tolist() == [committed_len - 1]
    assert root["visible"].all()
    assert [heard["flat_ids"].tolist() for heard in expansions] == [
        level.beam_flat_ids.tolist() for level in drafted.levels[1:]
    ]
    for number, heard in enumerate(expansions):
        num_keys = committed_len + 4 * (number + 1)
        assert heard["query"].shape == (4, 4, 16)
        assert heard["key"].shape == (2, num_keys, 16)
        assert heard["visible"].shape == (4, num_keys)
        assert np.all(heard["query_positions"] == committed_len + number)
        assert np.all(heard["visible"][:, :committed_len])
        assert np.all(heard["visible"][:, committed_len:].sum(axis=1) == number + 1), "one row per level"
        seen = np.where(heard["visible"], heard["key_positions"], 0)
        assert np.all(np.sort(seen, axis=1)[:, -1] == committed_len + number)


def test_the_window_is_counted_in_tokens_with_the_own_one() -> None:
    ear, window = Ear(), 3
    run = start(
        fused_path(small_pair(5), DecodeSettings(tree_nodes=16, depth=3, top_k=4, window=window)), PROMPT, ear
    )
    run.step()
    for heard in ear.heard:
        distances = heard["query_positions"][:, None] - heard["key_positions"]
        assert np.all(distances[heard["visible"]] < window)
        assert np.all(heard["visible"].sum(axis=1) == window)


@settings(max_examples=60)
@given(
    scores=arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(6, 12)), elements=st.sampled_from([-1, -2, -3])
    ),
    k=st.integers(1, 6),
)
def test_ties_go_to_the_lower_index(scores: np.ndarray[Any, Any], k: int) -> None:
    """`topk` alone breaks ties as it likes, which makes two right paths draft different trees."""
    values, indices = stable_top_k(torch.from_numpy(scores), k)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert np.array_equal(indices.numpy(), expected)
    assert np.array_equal(values.numpy(), np.take_along_axis(scores, expected, 1))


def test_a_broken_score_is_never_preferred() -> None:
    scores = torch.tensor([[-1.0, torch.nan, -2.0, -torch.inf]])
    assert stable_top_k(scores, 2)[1].tolist() == [[0, 2]]
    assert best_in_order(scores[0].numpy(), 2).tolist() == [0, 2]


def test_an_impossible_width_is_refused() -> None:
    with pytest.raises(UsageError, match="top_k should be at most the draft vocabulary 40, got 41"):
        fused_path(small_pair(1), DecodeSettings(tree_nodes=16, depth=1, top_k=41))


def test_drafting_before_prefill_is_refused() -> None:
    path = fused_path(small_pair(1))
    with pytest.raises(UsageError, match="call prefill first"):
        path.stages.draft(path.begin(NullWatch()))
