"""The one promise of speculative decoding: the teacher's own greedy text, whatever the tree."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.fused.support import decode, fused_path, greedy, small_pair, with_soft_drafter
from tracing.errors import UsageError
from tracing.models import RopeConfig
from tracing.settings import DecodeSettings
from workbench.fused.greedy import decode_greedy
from workbench.fused.path import make_engine

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.mark.parametrize("model_type", ["llama", "PanguEmbedded", "qwen2", "qwen3", "mistral"])
def test_every_architecture_emits_its_greedy_text(model_type: str) -> None:
    """Catches a missing bias, head norm or wrong rotary table in our own modules."""
    pair = small_pair(5, model_type)
    run = decode(fused_path(pair), PROMPT, 32)
    assert run.emitted == greedy(pair, PROMPT, 32)
    assert sum(len(step.accepted.accepted_nodes) for step in run.steps) > 0, "nothing was ever accepted"


@pytest.mark.parametrize(
    ("tree_nodes", "depth", "top_k"),
    [(2, 0, 1), (4, 2, 1), (6, 0, 8), (16, 3, 4), (40, 5, 3), (64, 2, 4)],
    ids=["pair", "chain", "star", "tree", "all candidates", "more nodes than candidates"],
)
def test_every_tree_shape_emits_the_greedy_text(tree_nodes: int, depth: int, top_k: int) -> None:
    """Chains take the one-row kernel in the drafter, wide trees are padded or cut."""
    settings = DecodeSettings(tree_nodes=tree_nodes, depth=depth, top_k=top_k)
    for seed in (1, 2):
        pair = small_pair(seed)
        assert decode(fused_path(pair, settings), PROMPT, 24).emitted == greedy(pair, PROMPT, 24)


@pytest.mark.parametrize("mode", ["fast_reorder", "full_reorder", "length"])
@pytest.mark.parametrize("replication", ["incremental", "deepcopy"])
def test_every_way_to_commit_emits_the_greedy_text(mode: str, replication: str) -> None:
    """A wrong row in the committed cache shows in the text of the steps after it."""
    pair = small_pair(4)
    settings = DecodeSettings(tree_nodes=16, depth=3, top_k=4, commit_mode=mode)
    run = decode(fused_path(pair, settings, replication=replication), PROMPT, 32)
    assert run.emitted == greedy(pair, PROMPT, 32)
    ran = {step.committed.commit_mode for step in run.steps}
    assert mode in ran
    if mode == "length":  # trees accept paths that are no chain at the front: those fall back, and say so
        fallen = [step.committed for step in run.steps if step.committed.commit_mode == "full_reorder"]
        assert fallen
        assert all("first slots" in committed.commit_fallback for committed in fallen)


@pytest.mark.parametrize("num_tokens", [1, 2, 7, 20])
def test_the_length_is_exact(num_tokens: int) -> None:
    """An accepted run that crosses the limit is cut, and the state still stands at a legal place."""
    pair = small_pair(5)
    run = decode(fused_path(pair), PROMPT, num_tokens)
    assert len(run.emitted) == num_tokens
    if run.steps:
        assert run.steps[-1].accepted.stop_reason == "length"
        assert run.state.committed_len == len(PROMPT) + num_tokens - 1


def test_eos_inside_an_accepted_run_ends_the_text() -> None:
    """The tail that the drafter guessed behind EOS must not be emitted."""
    free = small_pair(5)
    text = greedy(free, PROMPT, 32)
    eos = next(token for token in text[4:] if token not in text[:4])
    pair = small_pair(5, eos_token_ids=[eos])
    run = decode(fused_path(pair), PROMPT, 32)
    assert run.emitted == text[: text.index(eos) + 1]
    last = run.steps[-1].accepted
    assert (last.stop_reason, last.final_token_id) == ("eos", eos)
    assert len(last.emitted_token_ids) == len(last.accepted_nodes) + 1 == len(last.path_indices)


def test_a_prompt_of_one_token_and_one_longer_than_the_window() -> None:
    """One row takes the decoding kernel; a sliding window becomes part of the mask."""
    for pair, prompt in ((small_pair(3), [7]), (small_pair(3, "mistral", sliding_window=12), PROMPT * 3)):
        assert decode(fused_path(pair), prompt, 20).emitted == greedy(pair, prompt, 20)


def test_a_long_prompt() -> None:
    """1500 tokens go through the compressed causal mask in one call."""
    pair = small_pair(2, max_position_embeddings=4096)
    prompt = np.random.default_rng(0).integers(0, 64, 1500).tolist()
    assert decode(fused_path(pair), prompt, 6).emitted == greedy(pair, prompt, 6)


def test_a_second_turn_starts_clean() -> None:
    """Prefill resets: a state that has decoded one text decodes another as a fresh one would."""
    pair = small_pair(6)
    path = fused_path(pair)
    first = decode(path, PROMPT, 20)
    again = decode(path, PROMPT[::-1], 20, state=first.state)
    assert again.emitted == decode(path, PROMPT[::-1], 20).emitted
    path.stages.prefill(first.state, PROMPT)
    assert path.kv_lengths(first.state, "drafter") == (0,)
    assert path.kv_lengths(first.state, "branch") is None


def test_a_drafter_window_changes_drafts_but_not_the_text() -> None:
    """Only the drafter forgets, and its attention is made soft enough to tell."""
    pair = with_soft_drafter(small_pair(4))
    settings = DecodeSettings(tree_nodes=16, depth=3, top_k=4, window=3)
    windowed, free = (decode(fused_path(pair, each), PROMPT, 24) for each in (settings, None))
    assert windowed.emitted == free.emitted == greedy(pair, PROMPT, 24)
    first = [run.steps[0].drafted.levels[0].scores for run in (windowed, free)]
    assert not np.array_equal(*first)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs(dtype: str) -> None:
    """No claim on the text: in half precision a near tie may go either way, which is for the judge."""
    run = decode(fused_path(small_pair(5), dtype=dtype), PROMPT, 24)
    assert len(run.emitted) == 24
    assert run.prefilled.logits.dtype == getattr(torch, dtype)
    assert all(torch.isfinite(step.verified.logits.float()).all() for step in run.steps)
    assert sum(len(step.accepted.accepted_nodes) for step in run.steps) > 0


def test_each_models_own_rope_reaches_it() -> None:
    """A drafter with the teacher's rotary table, or the other way round, only loses acceptance."""
    scaled = RopeConfig(theta=10000.0, kind="linear", parameters={"factor": 2.0})
    plain, drafter_only = (
        decode(fused_path(with_soft_drafter(small_pair(5, drafter_rope=rope))), PROMPT, 3)
        for rope in (None, scaled)
    )
    both = decode(fused_path(small_pair(5, rope=scaled)), PROMPT, 3)
    assert torch.equal(plain.prefilled.logits, drafter_only.prefilled.logits)
    assert not torch.equal(plain.prefilled.logits, both.prefilled.logits)
    scores = [run.steps[0].drafted.levels[0].scores for run in (plain, drafter_only)]
    assert not np.array_equal(*scores)


def test_the_given_weights_are_shared_and_never_written() -> None:
    pair = small_pair(1)
    before = {name: tensor.clone() for name, tensor in pair.teacher_weights.items()}
    path = fused_path(pair)
    decode(path, PROMPT, 12)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair.teacher_weights.items())


@pytest.mark.parametrize("kv_layout", ["contiguous", "paged"])
@pytest.mark.parametrize("model_type", ["PanguEmbedded", "mistral"])
def test_teacher_only_decoding_is_the_plain_greedy_text(kv_layout: str, model_type: str) -> None:
    """The baseline of every speed-up: a baseline of other text, or past its window, would be no baseline."""
    window = {"sliding_window": 12} if model_type == "mistral" else {}
    pair = small_pair(5, model_type, **window)
    settings = DecodeSettings(tree_nodes=16, depth=3, top_k=4, kv_layout=kv_layout)
    engine = make_engine(pair, settings, environment={})
    told: list[int] = []
    text = decode_greedy(engine, PROMPT, 24, told.append)
    assert text == told == greedy(pair, PROMPT, 24)
    eos = max(text, key=text.index)  # the one that comes up last
    ended = dataclasses.replace(engine, eos_token_ids=frozenset({eos}))
    assert decode_greedy(ended, PROMPT, 24) == text[: text.index(eos) + 1]
    with pytest.raises(UsageError, match="at least 1"):
        decode_greedy(engine, PROMPT, 0)
