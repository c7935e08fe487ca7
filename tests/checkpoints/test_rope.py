"""Rotary parameters are what transformers would use, whichever keys the file has."""

from __future__ import annotations

from typing import Any

import pytest

from tracing.errors import CheckpointError
from workbench.checkpoints.rope import rope_from_config

LLAMA3 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip


def test_old_and_new_keys_mean_the_same() -> None:
    """Catches readers of only one of the two (a silent theta of 10000, a dropped scaling)."""
    old = {"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}}
    older = {"rope_theta": 500000.0, "rope_scaling": {"type": "llama3", **LLAMA3}}
    new = {"rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, **LLAMA3}}
    assert rope_from_config(old) == rope_from_config(older) == rope_from_config(new)
    assert rope_from_config(new).theta == 500000.0
    assert rope_from_config(new).kind == "llama3"
    assert rope_from_config(new).parameters == LLAMA3


@pytest.mark.parametrize("kind", ["default", "linear", "dynamic", "yarn", "llama3"])
def test_the_same_reading_as_transformers(kind: str) -> None:
    import transformers

    extra = {"default": {}, "llama3": LLAMA3}.get(kind, {"factor": 2.0})
    block = {"rope_type": kind, "rope_theta": 40000.0, **extra}
    config = transformers.LlamaConfig(max_position_embeddings=8192, rope_parameters=block).to_dict()
    rope = rope_from_config(config)
    assert (rope.theta, rope.kind) == (40000.0, kind)
    assert all(rope.parameters[key] == value for key, value in extra.items())


def test_default_theta_and_explicit_null() -> None:
    assert rope_from_config({}).theta == 10000.0
    assert rope_from_config({"rope_scaling": None, "rope_theta": 5.0}).theta == 5.0


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}}, "rope_theta is 10000.0 but"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_theta": 1e4}},
            "'linear'",
        ),
        ({"rope_scaling": {"type": "linear"}}, "'linear' needs factor"),
        ({"rope_scaling": {"type": "longrope"}}, "got 'longrope'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"rope_theta": -1}, "rope_theta should be a positive number"),
        ({"rope_scaling": "linear"}, "should be an object or null"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "differ per layer type"),
    ],
)
def test_contradictions_are_refused(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        rope_from_config(config)


def test_agreeing_duplicates_are_fine() -> None:
    """Exports mirror both keys; only a disagreement is a fault."""
    both = {"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2.0}}
    both["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}
    assert rope_from_config(both).kind == "linear"
