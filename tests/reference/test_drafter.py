"""The drafter against a second writing of the EAGLE-3 layer, in numpy, one query at a time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference.model import ReferenceModels
from reference.rungs import MASKED
from tests.pairs import tiny_pair
from tracing.errors import CheckpointError, UsageError
from tracing.models import ModelPair
from tracing.settings import DecodeSettings

Array = NDArray[np.float64]
SETTINGS = DecodeSettings(tree_nodes=8, depth=2, top_k=3)


class NumpyDrafter:
    """Weights in float64; complex rotation instead of rotate-half, explicit loops over heads and keys."""

    def __init__(self, pair: ModelPair) -> None:
        self.config = pair.drafter
        self.weights = {name: tensor.double().numpy() for name, tensor in pair.drafter_weights.items()}

    def norm(self, x: Array, name: str) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + self.config.rms_norm_eps) * self.weights[name]

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)

    def fuse(self, features: Array) -> Array:
        if self.config.fc_norm:
            taps = np.split(features, 3, axis=-1)
            features = np.concatenate(
                [self.norm(tap, f"fc_norm.{i}.weight") for i, tap in enumerate(taps)], -1
            )
        if self.config.norm_before_fc:
            features = self.norm(features, "input_norm.weight")
        return self.linear(features, "fc")

    def turn(self, x: Array, position: int) -> Array:
        half = self.config.head_dim // 2
        angles = position * self.config.rope.theta ** (-np.arange(half) / half)
        turned = (x[:half] + 1j * x[half:]) * np.exp(1j * angles)
        return np.concatenate([turned.real, turned.imag])

    def heads(self, x: Array, name: str, num: int, position: int) -> list[Array]:
        parts = np.split(self.linear(x, f"midlayer.self_attn.{name}_proj"), num)
        if name == "v":
            return parts
        if self.config.qk_norm:
            parts = [self.norm(part, f"midlayer.self_attn.{name}_norm.weight") for part in parts]
        return [self.turn(part, position) for part in parts]

    def last_row(self, token_ids: list[int], inputs: list[Array]) -> tuple[Array, Array]:
        """Next feature and log-probabilities after the last row of one causal sequence."""
        config = self.config
        normed = [self.norm(row, "midlayer.hidden_norm.weight") for row in inputs]
        rows = [
            np.concatenate(
                [
                    self.norm(self.weights["embed_tokens.weight"][token], "midlayer.input_layernorm.weight"),
                    row,
                ]
            )
            for token, row in zip(token_ids, normed, strict=True)
        ]
        keys = [self.heads(row, "k", config.num_kv_heads, j) for j, row in enumerate(rows)]
        values = [self.heads(row, "v", config.num_kv_heads, j) for j, row in enumerate(rows)]
        mixed = []
        for head, query in enumerate(self.heads(rows[-1], "q", config.num_heads, len(rows) - 1)):
            shared = head * config.num_kv_heads // config.num_heads
            scores = np.array([query @ key[shared] for key in keys]) / np.sqrt(config.head_dim)
            shares = np.exp(scores - scores.max())
            mixed.append(shares @ np.array([value[shared] for value in values]) / shares.sum())
        residual = normed[-1] if config.norm_before_residual else inputs[-1]
        x = residual + self.linear(np.concatenate(mixed), "midlayer.self_attn.o_proj")
        after = self.norm(x, "midlayer.post_attention_layernorm.weight")
        gate = self.linear(after, "midlayer.mlp.gate_proj")
        x = x + self.linear(
            gate / (1 + np.exp(-gate)) * self.linear(after, "midlayer.mlp.up_proj"), "midlayer.mlp.down_proj"
        )
        normed_x = self.norm(x, "norm.weight")
        logits = self.linear(normed_x, "lm_head")
        logprobs = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        return (normed_x if config.norm_output else x), logprobs


def _oracle_rows(
    pair: ModelPair, committed: list[int], root: int, features: Array, levels: Any
) -> list[list[Array]]:
    """Log-probability rows of every beam of every level, each beam on its own sequence."""
    drafter = NumpyDrafter(pair)
    tokens, inputs = [*committed[1:], root], list(drafter.fuse(features))
    hidden, logprobs = drafter.last_row(tokens, inputs)
    beams = [(tokens, inputs, hidden)]
    rows = [[logprobs]]
    first = 0
    for before, level in itertools.pairwise(levels):
        top_k, grown, level_rows = before.token_ids.shape[1], [], []
        for flat in level.beam_flat_ids - first:
            tokens, inputs, hidden = beams[flat // top_k]
            tokens = [*tokens, int(before.token_ids[flat // top_k, flat % top_k])]
            inputs = [*inputs, hidden]
            hidden, logprobs = drafter.last_row(tokens, inputs)
            grown.append((tokens, inputs, hidden))
            level_rows.append(logprobs)
        first += before.token_ids.size
        beams = grown
        rows.append(level_rows)
    return rows


FLAGS = st.fixed_dictionaries(
    {
        name: st.booleans()
        for name in (
            "norm_before_residual",
            "norm_output",
            "fc_norm",
            "norm_before_fc",
            "drafter_qk_norm",
            "drafter_qkv_bias",
            "drafter_o_bias",
        )
    }
)


@settings(max_examples=15)
@given(flags=FLAGS, seed=st.integers(0, 10**6), prefix=st.integers(1, 6))
def test_every_flag_against_the_second_writing(flags: dict[str, bool], seed: int, prefix: int) -> None:
    """Catches a feature paired with the wrong token, a norm before the wrong residual, a position off.

    Float64 on both sides, sums of at most 96 terms: 1e-9 leaves room for another order of summing.
    """
    pair = tiny_pair(seed, vocab=32, draft_vocab=20, **flags)
    random = np.random.default_rng(seed)
    committed, features = random.integers(0, 32, prefix).tolist(), random.standard_normal((prefix, 96))
    inputs = (ReferenceModels(pair, "float64"), committed, 5, torch.from_numpy(features), SETTINGS)
    drafted = MASKED.draft(*inputs)
    truth = MASKED.replay_levels(*inputs, levels=drafted.levels)
    expected = _oracle_rows(pair, committed, 5, features, drafted.levels)
    for level, rows in zip(truth.levels, expected, strict=True):
        np.testing.assert_allclose(level.row_logprobs.numpy(), np.array(rows), atol=1e-9)


@pytest.mark.parametrize(
    "flag", ["norm_before_residual", "norm_output", "drafter_qkv_bias", "drafter_qk_norm", "fc_norm"]
)
def test_every_flag_matters(flag: str) -> None:
    """A flag that is read and then ignored would pass any comparison made with it off."""
    pair = tiny_pair(3, **{flag: True})
    name = flag.removeprefix("drafter_")
    without = replace(pair, drafter=replace(pair.drafter, **{name: False}))
    if name == "qkv_bias":
        kept = {key: value for key, value in pair.drafter_weights.items() if not key.endswith("bias")}
        without = replace(without, drafter_weights=kept)
    features = torch.randn(4, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    levels = MASKED.draft(ReferenceModels(pair, "float64"), [1, 2, 3, 4], 5, features, SETTINGS).levels
    rows = [
        MASKED.replay_levels(
            ReferenceModels(each, "float64"), [1, 2, 3, 4], 5, features, SETTINGS, levels=levels
        ).levels[-1]
        for each in (pair, without)
    ]
    assert (rows[0].row_logprobs - rows[1].row_logprobs).abs().max() > 1e-3


def test_the_window_hides_what_is_far_and_nothing_else() -> None:
    """A window as long as the sequence changes nothing; a shorter one does."""
    models = ReferenceModels(tiny_pair(3), "float64")
    features = torch.randn(6, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drafts = {
        window: MASKED.draft(models, [1, 2, 3, 4, 5, 6], 7, features, replace(SETTINGS, window=window))
        for window in (0, 3, 8)
    }
    assert np.array_equal(drafts[8].logprobs, drafts[0].logprobs)
    assert not np.array_equal(drafts[3].logprobs, drafts[0].logprobs)


def test_low_precision_scores_are_float32() -> None:
    """Log-probabilities of a bfloat16 drafter are not rounded to bfloat16, which would make ties of most."""
    models = ReferenceModels(tiny_pair(3), "bfloat16")
    drafted = MASKED.draft(models, [1, 2, 3], 7, torch.randn(3, 96), SETTINGS)
    scores = torch.from_numpy(drafted.levels[0].scores)
    assert (scores != scores.bfloat16().float()).any()


def test_a_missing_tensor_and_a_wrong_tap_are_named() -> None:
    """Neither ends in a KeyError, and a negative tap does not wrap around."""
    pair = tiny_pair(3)
    weights = {name: value for name, value in pair.drafter_weights.items() if name != "fc.weight"}
    models = ReferenceModels(replace(pair, drafter_weights=weights))
    with pytest.raises(CheckpointError, match=r"fc\.weight"):
        MASKED.draft(models, [1, 2], 3, torch.randn(2, 96), SETTINGS)
    with pytest.raises(CheckpointError, match="aux_layers"):
        ReferenceModels(replace(pair, drafter=replace(pair.drafter, aux_layers=(0, 1, -1))))


@pytest.mark.parametrize("token_id", [-1, 64])
def test_a_token_outside_the_vocabulary_is_refused(token_id: int) -> None:
    """torch reads row -1 of the embedding without a word."""
    models = ReferenceModels(tiny_pair(3))
    with pytest.raises(UsageError, match=rf"token ids should lie in 0\.\.63, got {token_id}"):
        MASKED.prefill(models, [1, token_id])


def test_given_weights_are_never_changed() -> None:
    """Both paths share the loaded tensors."""
    pair = tiny_pair(3)
    before = {name: tensor.clone() for name, tensor in pair.drafter_weights.items()}
    MASKED.draft(ReferenceModels(pair), [1, 2], 3, torch.randn(2, 96), SETTINGS)
    assert all(torch.equal(before[name], tensor) for name, tensor in pair.drafter_weights.items())


def test_weights_can_be_rounded_as_the_patient_rounds_them() -> None:
    """Truth in float32 for a float16 under_test computes with the tested path's own weights."""
    pair = tiny_pair(3)
    models = ReferenceModels(pair, "float32", rounded_to="float16")
    given, used = pair.teacher_weights["lm_head.weight"], models.teacher_weights["lm_head.weight"]
    assert used.dtype == torch.float32
    assert torch.equal(used, given.half().float())
    assert not torch.equal(used, given)
