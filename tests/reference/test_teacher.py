"""The whole teacher against transformers' eager models on the same random weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from reference.arithmetic import Arithmetic
from reference.model import ReferenceModels
from reference.teacher import forward, prefill
from reference.visible import causal
from tests.pairs import tiny_pair
from tracing.models import ModelPair, RopeConfig

CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "PanguEmbedded": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
}
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9]
LLAMA3 = RopeConfig(
    10000.0,
    "llama3",
    {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()


def _run_transformers(pair: ModelPair, dtype: torch.dtype, bias: bool) -> Any:
    teacher = pair.teacher
    config_class, model_class = CLASSES[teacher.model_type]
    extra: dict[str, Any] = (
        {"attention_bias": bias} if teacher.model_type in ("llama", "PanguEmbedded") else {}
    )
    if teacher.sliding_window is not None:
        extra |= {"sliding_window": teacher.sliding_window}
    config = config_class(
        vocab_size=teacher.vocab_size,
        hidden_size=teacher.hidden_size,
        intermediate_size=teacher.intermediate_size,
        num_hidden_layers=teacher.num_layers,
        num_attention_heads=teacher.num_heads,
        num_key_value_heads=teacher.num_kv_heads,
        head_dim=teacher.head_dim,
        rms_norm_eps=teacher.rms_norm_eps,
        max_position_embeddings=teacher.max_position_embeddings,
        rope_parameters={
            "rope_type": teacher.rope.kind,
            "rope_theta": teacher.rope.theta,
            **teacher.rope.parameters,
        },
        tie_word_embeddings=False,
        attn_implementation="eager",
        **extra,
    )
    model = model_class(config).eval()
    missing, unexpected = model.load_state_dict(dict(pair.teacher_weights), strict=True)
    assert not missing
    assert not unexpected
    frequencies = model.model.rotary_emb.inv_freq.clone()
    model.to(dtype).model.rotary_emb.inv_freq = frequencies  # a loaded model keeps them in float32
    with torch.no_grad():
        return model(torch.tensor([PROMPT]), output_hidden_states=True, use_cache=True)


@pytest.mark.parametrize(
    ("model_type", "options"),
    [
        ("llama", {"rope": LLAMA3}),
        ("llama", {"head_dim": 16, "kv_heads": 4}),
        ("PanguEmbedded", {}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 16}),
        ("mistral", {"sliding_window": 4}),
    ],
)
def test_logits_features_and_cache_are_those_of_transformers(
    model_type: str, options: dict[str, Any]
) -> None:
    """Catches a wrong norm, head split, rope, bias, window or tap.

    Both in float64, but transformers keeps rope angles in float32: an angle at position 14 is off by up to
    14 * 6e-8 = 8e-7, and two layers and a head with rows of length about 6 multiply that: 1e-5.
    """
    pair = tiny_pair(5, model_type, layers=3, aux_layers=(0, 1, 3), **options)
    bias = pair.teacher.qkv_bias
    theirs = _run_transformers(pair, torch.float64, bias)
    ours = prefill(ReferenceModels(pair, "float64"), PROMPT)
    torch.testing.assert_close(ours.logits[0], theirs.logits[0, -1], atol=1e-5, rtol=0)
    # transformers norms the last entry of its hidden states, so only the taps before it are comparable
    for tap, layer in ((0, 0), (1, 1)):
        mine = ours.features[:, tap * 32 : (tap + 1) * 32]
        torch.testing.assert_close(mine, theirs.hidden_states[layer][0], atol=1e-5, rtol=0)
    for layer, cached in enumerate(theirs.past_key_values.layers):
        num_kept = cached.keys.shape[2]  # a windowed layer keeps the last rows only
        torch.testing.assert_close(ours.kv[layer, 0][:, -num_kept:], cached.keys[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.kv[layer, 1][:, -num_kept:], cached.values[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_roundings_are_those_of_transformers(dtype: str) -> None:
    """Bit for bit: norm in float32 then cast then weighted, softmax in float32, rope cast before use."""
    pair = tiny_pair(6, "qwen3", layers=2)
    theirs = _run_transformers(pair, getattr(torch, dtype), bias=False)
    models = ReferenceModels(pair, dtype)
    visible = causal(len(PROMPT), None, models.device)
    ours = forward(models, models.tokens(PROMPT), torch.arange(len(PROMPT)), visible)
    assert torch.equal(ours.logits, theirs.logits[0])
    assert torch.equal(ours.kv[-1, 0], theirs.past_key_values.layers[-1].keys[0])


@pytest.mark.parametrize("fault", ["window", "tap", "eps", "bias"])
def test_those_comparisons_can_fail(fault: str) -> None:
    """Each of four wrong readings of a config moves the logits or the features by far more than 1e-5."""
    good = tiny_pair(5, "mistral", layers=3, sliding_window=4, qkv_bias=True)
    bad = {
        "window": lambda: tiny_pair(5, "mistral", layers=3, sliding_window=5, qkv_bias=True),
        "tap": lambda: tiny_pair(
            5, "mistral", layers=3, sliding_window=4, qkv_bias=True, aux_layers=(0, 2, 2)
        ),
        "eps": lambda: _with_eps(good, 1e-2),
        "bias": lambda: _without(good, "model.layers.0.self_attn.k_proj.bias"),
    }[fault]()
    first, second = (prefill(ReferenceModels(pair, "float64"), PROMPT) for pair in (good, bad))
    moved = max((first.logits - second.logits).abs().max(), (first.features - second.features).abs().max())
    assert moved > 1e-4


def _with_eps(pair: ModelPair, eps: float) -> ModelPair:
    return replace(pair, teacher=replace(pair.teacher, rms_norm_eps=eps))


def _without(pair: ModelPair, name: str) -> ModelPair:
    weights = {key: value for key, value in pair.teacher_weights.items() if key != name}
    return replace(pair, teacher_weights=weights)


def test_another_order_of_sums_is_the_same_value_with_other_roundings() -> None:
    """The judge measures an honest error with it: it differs, in the last bits only, and repeats."""
    pair = tiny_pair(7)
    natural = prefill(ReferenceModels(pair, "float32"), PROMPT).logits
    permuted = prefill(ReferenceModels(pair, "float32", arithmetic=Arithmetic(1)), PROMPT).logits
    again = prefill(ReferenceModels(pair, "float32", arithmetic=Arithmetic(1)), PROMPT).logits
    other = prefill(ReferenceModels(pair, "float32", arithmetic=Arithmetic(2)), PROMPT).logits
    assert torch.equal(permuted, again)
    assert not torch.equal(permuted, natural)
    assert not torch.equal(permuted, other)
    # 1e-7 per rounding, sums of at most 64 terms of size 10, three layers deep
    torch.testing.assert_close(permuted, natural, atol=5e-5, rtol=0)
