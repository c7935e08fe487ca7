"""Every operator switches to eager alone, and the paper's variables keep their meaning."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch

from tests.fused.support import decode, fused_path, small_pair, start
from tracing.errors import CheckpointError, EnvironmentProblemError, UsageError
from tracing.settings import FUSED_OPERATORS, DecodeSettings
from workbench.fused.switches import read_switches
from workbench.npu import dispatch

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
PAGED = DecodeSettings(tree_nodes=16, depth=3, top_k=4, kv_layout="paged")
OPERATOR_NAMES = {
    "attention": "npu_fused_infer_attention_score",
    "norm": "npu_rms_norm",
    "rotary": "npu_rotary_mul",
    "swiglu": "npu_swiglu",
    "scatter": "npu_scatter_pa_kv_cache",
}


def count_calls(stack: ExitStack) -> dict[str, int]:
    """Count calls of the fused operators while `stack` is open."""
    counts = dict.fromkeys(OPERATOR_NAMES, 0)

    def counter(short: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrap(operator: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                counts[short] += 1
                return operator(*arguments, **options)

            return call

        return wrap

    for short, name in OPERATOR_NAMES.items():
        stack.enter_context(dispatch.wrapped(name, counter(short)))
    return counts


@pytest.mark.parametrize("eager", [*FUSED_OPERATORS, None])
def test_each_operator_switches_alone(eager: str | None) -> None:
    """The named operator is never called and the others are; the logits stay within float32 rounding.

    Logits are of size 10 to 100; the two forms differ in the order of sums only, 5e-4 is some 50 ulp.
    """
    pair = small_pair(5, "qwen3", drafter_qk_norm=True)
    fused = decode(fused_path(pair, PAGED), PROMPT, 16)
    with ExitStack() as stack:
        counts = count_calls(stack)
        switched = decode(fused_path(pair, PAGED, eager={eager} if eager else frozenset()), PROMPT, 16)
    assert {short for short, count in counts.items() if count} == set(FUSED_OPERATORS) - {eager}
    assert switched.emitted == fused.emitted
    for ours, theirs in zip(switched.steps, fused.steps, strict=True):
        valid = theirs.tensorized.valid
        torch.testing.assert_close(
            ours.verified.logits[valid], theirs.verified.logits[valid], rtol=0, atol=5e-4
        )


@pytest.mark.parametrize(
    ("environment", "prefill", "tree"),
    [
        ({}, True, True),
        ({"PANGU_DISABLE_NPU_FUSED": "1"}, False, True),
        ({"PANGU_DISABLE_NPU_FUSED_TREE": "true"}, True, False),
        ({"PANGU_DISABLE_NPU_FUSED": "1", "PANGU_DISABLE_NPU_FUSED_TREE": "1"}, False, False),
        ({"PANGU_FORCE_EAGER_ATTN": "1"}, False, False),
        ({"PANGU_DISABLE_NPU_FUSED": "0", "PANGU_FORCE_EAGER_ATTN": ""}, True, True),
    ],
)
def test_the_papers_variables(environment: dict[str, str], *, prefill: bool, tree: bool) -> None:
    path = fused_path(small_pair(5), environment=environment)
    with ExitStack() as stack:
        counts = count_calls(stack)
        run = start(path, PROMPT)
        assert (counts["attention"] > 0) == prefill
    assert run.step().verified.kernel.startswith("npu_fused" if tree else "eager")
    switches = path.info["switches"]
    assert (switches["fused_prefill"], switches["fused_tree"]) == (prefill, tree)
    assert switches["reasons"] == [f"{name}={value}" for name, value in environment.items()]


def test_all_eager_needs_no_operator() -> None:
    with ExitStack() as stack:
        counts = count_calls(stack)
        run = decode(fused_path(small_pair(5), PAGED, eager=frozenset(FUSED_OPERATORS)), PROMPT, 16)
    assert not any(counts.values())
    assert run.emitted == decode(fused_path(small_pair(5)), PROMPT, 16).emitted


def test_bad_switches_are_refused() -> None:
    known = "attention, norm, rotary, swiglu, scatter, linear"
    with pytest.raises(UsageError, match=f"eager operators should be among {known}, got gelu"):
        read_switches({"gelu"}, {})
    with pytest.raises(UsageError, match="EA_FAST_CACHE_REORDER should be 1 or 0, got 'maybe'"):
        read_switches(set(), {"EA_FAST_CACHE_REORDER": "maybe"})


def test_what_the_operators_do_not_take_runs_eager_and_says_so() -> None:
    path = fused_path(small_pair(5, head_dim=8))
    assert decode(path, PROMPT, 4).steps[0].verified.kernel.startswith("eager_attention")
    assert path.info["switches"]["reasons"] == ["attention is eager: head dims [8] are no multiples of 16"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device": "tpu"}, "device should be one of auto, cpu, cuda, npu, got 'tpu'"),
        ({"dtype": "int8"}, "dtype should be one of auto, float32, bfloat16, float16, got 'int8'"),
        ({"pad_token_id": 64}, "pad_token_id should be 0 to 63, got 64"),
        (
            {"settings": DecodeSettings(kv_layout="paged", block_size=20)},
            "block_size should be a multiple of 16 from 16 to 1024, got 20",
        ),
        ({"settings": DecodeSettings(kv_layout="paged", block_size=0)}, "block_size should be .* got 0"),
        (
            {"settings": DecodeSettings(kv_layout="paged", block_size=1040)},
            "block_size should be .* got 1040",
        ),
    ],
)
def test_impossible_options_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        fused_path(small_pair(1), **options)


def test_a_device_that_is_not_there() -> None:
    if dispatch.register().backend.num_devices:
        pytest.skip("this machine has an Ascend device")
    with pytest.raises(EnvironmentProblemError, match="no Ascend device can be used; try --device cpu"):
        fused_path(small_pair(1), device="npu")


def test_an_unknown_teacher_and_weights_that_do_not_fit() -> None:
    from dataclasses import replace

    pair = small_pair(1)
    strange = replace(pair, teacher=replace(pair.teacher, model_type="mamba"))
    with pytest.raises(CheckpointError, match="got 'mamba'"):
        fused_path(strange)
    weights = {name: tensor for name, tensor in pair.teacher_weights.items() if name != "model.norm.weight"}
    with pytest.raises(CheckpointError, match=r"do not fit.*model\.norm\.weight"):
        fused_path(replace(pair, teacher_weights=weights))
    with pytest.raises(CheckpointError, match="tapped layers should be in 0 to 2"):
        fused_path(replace(pair, drafter=replace(pair.drafter, aux_layers=(0, 1, 3))))


@pytest.mark.parametrize("prompt", [[], [64], [-1, 2]])
def test_a_context_that_cannot_be(prompt: list[int]) -> None:
    with pytest.raises(UsageError):
        start(fused_path(small_pair(1)), prompt)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kv_layout": "ring"}, "kv_layout should be contiguous or paged, got 'ring'"),
        ({"commit_mode": "magic"}, "commit_mode should be one of fast_reorder, full_reorder, length, got"),
        ({"tree_nodes": 1}, "tree_nodes should be at least 2, got 1"),
    ],
)
def test_settings_are_refused_where_they_are_made(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        DecodeSettings(**options)
