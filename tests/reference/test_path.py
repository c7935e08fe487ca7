"""The decode path end to end: it emits what plain greedy decoding emits, on every rung."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.model import ReferenceModels
from reference.path import CACHE_COLUMNS, make_path
from reference.tensorize import tensorize
from tests.greedy import greedy_decode
from tests.pairs import tiny_pair
from tests.reference.trees import decode
from tracing.columns import COLUMN_BY_NAME
from tracing.errors import UsageError
from tracing.moment import STAGES
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, NullWatch

PROMPT = [1, 2, 3, 4, 5, 6, 7]
RUNGS = ("replay", "masked", "cached")
SETTINGS = DecodeSettings(tree_nodes=10, depth=2, top_k=3, max_new_tokens=16)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    model_type=st.sampled_from(["llama", "qwen3", "PanguEmbedded"]),
    rung=st.sampled_from(RUNGS),
    noise=st.sampled_from([0.1, 0.3]),
    window=st.sampled_from([0, 4]),
)
def test_output_is_plain_greedy_decoding(
    seed: int, model_type: str, rung: str, noise: float, window: int
) -> None:
    """The promise of speculative decoding; a slip in positions, masks, acceptance or commit breaks it."""
    pair = tiny_pair(seed, model_type, noise=noise)
    choice = DecodeSettings(tree_nodes=10, depth=2, top_k=3, max_new_tokens=16, window=window)
    emitted, _ = decode(make_path(pair, choice, dtype="float64", rung=rung), PROMPT, choice)
    assert emitted == greedy_decode(ReferenceModels(pair, "float64"), PROMPT, 16)


def test_drafts_are_accepted_and_rejected() -> None:
    """Equality with greedy would hold for a tree that is never accepted; here it is, on several branches."""
    counts: list[int] = []
    for seed in range(4):
        emitted, accepted = decode(make_path(tiny_pair(seed), SETTINGS, dtype="float64"), PROMPT, SETTINGS)
        assert len(emitted) == 16
        counts += accepted[:-1]
    assert 0 in counts
    assert {1, 2} <= set(counts)


def test_rungs_accept_alike() -> None:
    """A shifted feature row leaves the output intact and shows only in acceptance."""
    pair = tiny_pair(0, noise=0.2)
    results = [
        decode(make_path(pair, SETTINGS, dtype="float64", rung=rung), PROMPT, SETTINGS) for rung in RUNGS
    ]
    assert results[0] == results[1] == results[2]
    assert sum(results[0][1]) > 0


@pytest.mark.parametrize("max_new_tokens", [1, 2, 5, 6, 7, 16])
def test_exactly_as_many_tokens_as_asked(max_new_tokens: int) -> None:
    """Never one more, wherever in an accepted run the budget ends."""
    pair = tiny_pair(4, noise=0.1)
    choice = DecodeSettings(tree_nodes=10, depth=3, top_k=3, max_new_tokens=max_new_tokens)
    emitted, _ = decode(make_path(pair, choice, dtype="float64"), PROMPT, choice)
    assert emitted == greedy_decode(ReferenceModels(pair, "float64"), PROMPT, max_new_tokens)
    assert len(emitted) == max_new_tokens


@pytest.mark.parametrize("place", range(6))
def test_output_ends_at_the_end_of_sequence(place: int) -> None:
    """Also when it is the first root, and when it lies inside an accepted run."""
    plain = greedy_decode(ReferenceModels(tiny_pair(0), "float64"), PROMPT, 16)
    eos = plain[place]
    pair = tiny_pair(0, eos_token_ids=[eos])
    emitted, _ = decode(make_path(pair, SETTINGS, dtype="float64"), PROMPT, SETTINGS, eos=[eos])
    assert emitted == plain[: plain.index(eos) + 1]
    assert emitted == greedy_decode(ReferenceModels(pair, "float64"), PROMPT, 16)


@pytest.mark.parametrize("rung", RUNGS)
def test_a_second_prefill_forgets_the_first(rung: str) -> None:
    """A turn starts from its own context, whatever was cached before."""
    path = make_path(tiny_pair(0), SETTINGS, dtype="float64", rung=rung)
    state = path.begin(NullWatch())
    _step(path, state, PROMPT)
    other = [9, 8, 7, 6, 5, 4, 3, 2, 1]
    _step(path, state, other)
    fresh = path.begin(NullWatch())
    _step(path, fresh, other)
    assert state.token_ids == fresh.token_ids
    assert torch.equal(state.features, fresh.features)
    assert path.stages.draft
    assert path.stages.draft(state).logprobs.tolist() == path.stages.draft(fresh).logprobs.tolist()


@pytest.mark.parametrize("rung", RUNGS)
def test_committed_features_are_those_of_a_prefill(rung: str) -> None:
    """Catches a shifted or repeated feature row, which leaves the output intact and lowers acceptance."""
    path = make_path(tiny_pair(0, noise=0.1), SETTINGS, dtype="float64", rung=rung)
    state, fresh = path.begin(NullWatch()), path.begin(NullWatch())
    _step(path, state, PROMPT)
    assert path.stages.prefill
    expected = path.stages.prefill(fresh, state.token_ids)
    assert state.committed_len > len(PROMPT) + 1
    torch.testing.assert_close(state.features, expected.features, atol=1e-10, rtol=0)
    assert state.root == expected.context_token_ids[-1]


def test_somebody_elses_tree_is_committed_after_an_own_one() -> None:
    """Rows of an earlier own verify must not be kept for a tree that another path verified."""
    path = make_path(tiny_pair(0, noise=0.1), SETTINGS, dtype="float64", rung="cached")
    state, fresh = path.begin(NullWatch()), path.begin(NullWatch())
    tree, verified = _step(path, state, PROMPT)
    assert path.stages.prefill
    assert path.stages.accept
    assert path.stages.commit
    assert path.kv_rows
    accepted = path.stages.accept(state, tree, verified, 99)
    path.stages.commit(state, tree, verified, accepted)  # the same tree once more, not verified here
    path.stages.prefill(fresh, state.token_ids)
    rows = np.arange(state.committed_len)
    mine, theirs = (path.kv_rows(each, "main", rows) for each in (state, fresh))
    torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


def _step(path: DecodePath, state: Any, prompt: list[int]) -> Any:
    stages = path.stages
    assert stages.prefill
    assert stages.draft
    assert stages.tensorize
    assert stages.verify
    assert stages.accept
    assert stages.commit
    stages.prefill(state, prompt)
    tree = stages.tensorize(state, stages.draft(state))
    verified = stages.verify(state, tree)
    stages.commit(state, tree, verified, stages.accept(state, tree, verified, 99))
    return tree, verified


def test_the_watch_hears_every_stage_with_known_columns() -> None:
    """A journal can name stage and inputs after a crash, in the words of the trace."""
    heard: list[tuple[str, Mapping[str, Any]]] = []

    class Watch(NullWatch):
        def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
            heard.append((stage, columns))

    path = make_path(tiny_pair(0), SETTINGS)
    _step(path, path.begin(Watch()), PROMPT)
    assert [stage for stage, _ in heard] == list(STAGES)
    assert all(columns and set(columns) <= set(COLUMN_BY_NAME) for _, columns in heard)


def test_what_a_rung_cannot_record_it_says() -> None:
    """Every column named is one of the trace's; with a cache, the cache columns can be had."""
    lacks = {rung: make_path(tiny_pair(0), SETTINGS, rung=rung).lacks for rung in RUNGS}
    assert lacks["masked"] == CACHE_COLUMNS | {"slots", "index_sites"}
    assert not lacks["cached"] & CACHE_COLUMNS
    assert all(names <= set(COLUMN_BY_NAME) for names in lacks.values())


def test_cache_windows_show_committed_rows() -> None:
    """Commit equivalence: after a step the cache holds what a prefill of the same tokens would."""
    path = make_path(tiny_pair(0, noise=0.1), SETTINGS, dtype="float64", rung="cached")
    state = path.begin(NullWatch())
    _step(path, state, PROMPT)
    assert path.kv_rows
    assert path.kv_lengths
    num_rows = state.committed_len
    assert num_rows > len(PROMPT) + 1  # something was accepted, so a row was moved
    assert path.kv_lengths(state, "main") == (num_rows, num_rows)
    assert path.kv_lengths(state, "branch") == (len(PROMPT) + 10,) * 2
    assert path.kv_lengths(state, "other") is None
    fresh = path.begin(NullWatch())
    assert path.stages.prefill
    path.stages.prefill(fresh, state.token_ids)
    rows = np.arange(num_rows)
    torch.testing.assert_close(
        path.kv_rows(state, "main", rows), path.kv_rows(fresh, "main", rows), atol=1e-10, rtol=0
    )


@pytest.mark.parametrize("rung", RUNGS)
def test_stages_fill_in_for_a_port_that_lacks_them(rung: str) -> None:
    """Drafts and verification may come from elsewhere, as numpy; the next draft is the same."""
    own, filled = (make_path(tiny_pair(0, noise=0.1), SETTINGS, dtype="float64", rung=rung) for _ in range(2))
    state, other = own.begin(NullWatch()), filled.begin(NullWatch())
    tree, verified = _step(own, state, PROMPT)
    foreign = copy.copy(verified)
    object.__setattr__(foreign, "features", verified.features.numpy())
    assert filled.stages.prefill
    assert filled.stages.accept
    assert filled.stages.commit
    assert filled.stages.draft
    assert own.stages.draft
    filled.stages.prefill(other, PROMPT)
    accepted = filled.stages.accept(other, tree, foreign, 99)
    filled.stages.commit(other, tree, foreign, accepted)
    first, second = own.stages.draft(state), filled.stages.draft(other)
    assert first.token_ids.tolist() == second.token_ids.tolist()
    np.testing.assert_allclose(first.logprobs, second.logprobs, rtol=1e-6)


@pytest.mark.parametrize("rung", RUNGS)
def test_a_stage_repeats_itself_on_a_copied_state(rung: str) -> None:
    """The judge repeats stages on copies: a shallow copy must be enough and the original untouched."""
    path = make_path(tiny_pair(0), SETTINGS, rung=rung)
    state = path.begin(NullWatch())
    _step(path, state, PROMPT)
    assert path.stages.draft
    assert path.stages.verify
    drafts = [path.stages.draft(each) for each in (copy.copy(state), state, state)]
    assert drafts[0].logprobs.tolist() == drafts[1].logprobs.tolist()
    np.testing.assert_allclose(drafts[1].logprobs, drafts[2].logprobs, rtol=1e-5)  # now the rows are cached
    tree = tensorize(drafts[0], state.committed_len, 10)
    before = state.features.clone()
    again = [path.stages.verify(copy.copy(state), tree).logits for _ in range(2)]
    assert torch.equal(*again)
    assert torch.equal(state.features, before)


def test_an_empty_prompt_and_a_stage_too_early_are_refused() -> None:
    path = make_path(tiny_pair(0), SETTINGS)
    assert path.stages.prefill
    assert path.stages.draft
    with pytest.raises(UsageError, match="at least one token"):
        path.stages.prefill(path.begin(NullWatch()), [])
    with pytest.raises(UsageError, match="prefill should run before"):
        path.stages.draft(path.begin(NullWatch()))
