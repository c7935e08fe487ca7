"""Driving a fused path in tests, and the plain greedy decoding that it has to equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.pairs import tiny_pair
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import (
    Accepted,
    Committed,
    DecodePath,
    Drafted,
    NullWatch,
    Prefilled,
    StageWatch,
    Tensorized,
    Verified,
)
from workbench.fused.path import make_path

ARCHITECTURES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "PanguEmbedded": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
}


def small_pair(seed: int = 0, model_type: str = "llama", **changes: Any) -> ModelPair:
    """A tiny pair whose head dim 16 the fused attention operator takes."""
    return tiny_pair(seed, model_type, **{"hidden": 64, "heads": 4, "kv_heads": 2, **changes})


def with_soft_drafter(pair: ModelPair) -> ModelPair:
    """The pair with a drafter that looks around: as made, nearly all its attention is on its own token."""
    weights = dict(pair.drafter_weights)
    weights["midlayer.self_attn.q_proj.weight"] = weights["midlayer.self_attn.q_proj.weight"] * 0.02
    return replace(pair, drafter_weights=weights)


def fused_path(pair: ModelPair, settings: DecodeSettings | None = None, **options: Any) -> DecodePath:
    """A fused path that the environment of the test run cannot change."""
    options.setdefault("environment", {})
    return make_path(pair, settings or DecodeSettings(tree_nodes=16, depth=3, top_k=4), **options)


@dataclass
class Step:
    drafted: Drafted
    tensorized: Tensorized
    verified: Verified
    accepted: Accepted
    committed: Committed


@dataclass
class Run:
    """One turn: everything that was emitted, and every step."""

    path: DecodePath
    state: Any
    prefilled: Prefilled
    emitted: list[int]
    steps: list[Step] = field(default_factory=list)

    def step(self, remaining: int = 1000) -> Step:
        stages, state = self.path.stages, self.state
        drafted = stages.draft(state)
        tensorized = stages.tensorize(state, drafted)
        verified = stages.verify(state, tensorized)
        accepted = stages.accept(state, tensorized, verified, remaining)
        committed = stages.commit(state, tensorized, verified, accepted)
        self.emitted += accepted.emitted_token_ids.tolist()
        self.steps.append(Step(drafted, tensorized, verified, accepted, committed))
        return self.steps[-1]


def start(path: DecodePath, prompt: Sequence[int], watch: StageWatch | None = None, state: Any = None) -> Run:
    state = path.begin(watch or NullWatch()) if state is None else state
    prefilled = path.stages.prefill(state, prompt)
    return Run(path, state, prefilled, [int(prefilled.context_token_ids[-1])])


def decode(path: DecodePath, prompt: Sequence[int], num_tokens: int, state: Any = None) -> Run:
    """Decode one turn to EOS or to exactly `num_tokens`, the first root included."""
    run = start(path, prompt, state=state)
    while len(run.emitted) < num_tokens:
        if run.step(num_tokens - len(run.emitted)).accepted.stop_reason is not None:
            break
    return run


def plain_teacher(pair: ModelPair) -> torch.nn.Module:
    """The teacher as transformers computes it by itself, eager, in the weights' dtype."""
    teacher = pair.teacher
    config_class, model_class = ARCHITECTURES[teacher.model_type]
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
        rope_parameters={"rope_type": teacher.rope.kind, "rope_theta": teacher.rope.theta},
        attention_bias=teacher.qkv_bias,
        sliding_window=teacher.sliding_window,
        tie_word_embeddings=False,
    )
    config._attn_implementation = "eager"
    model = model_class(config)
    model.load_state_dict(dict(pair.teacher_weights))
    return model.eval()


@torch.no_grad()
def greedy(pair: ModelPair, prompt: Sequence[int], num_tokens: int) -> list[int]:
    """Plain greedy decoding without a cache, to EOS or `num_tokens`."""
    model, tokens = plain_teacher(pair), list(prompt)
    for _ in range(num_tokens):
        tokens.append(int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
        if tokens[-1] in pair.eos_token_ids:
            break
    return tokens[len(prompt) :]
