"""Rotary frequencies against transformers' own, and the refusals."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from reference.rope import rotate, rotation
from tracing.errors import UsageError
from tracing.models import RopeConfig

HEAD_DIM, MAX_POSITIONS = 16, 4096
POSITIONS = torch.tensor([0, 1, 2, 63, 64, 1000, 4095])
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 1024}
KINDS = [
    ("default", {}),
    ("linear", {"factor": 4.0}),
    ("llama3", LLAMA3),
    ("dynamic", {"factor": 2.0}),
    ("yarn", YARN),
    ("yarn", YARN | {"beta_fast": 16, "beta_slow": 2, "truncate": False}),
    ("yarn", YARN | {"mscale": 0.7, "mscale_all_dim": 1.0}),
    ("yarn", YARN | {"attention_factor": 1.3}),
    ("yarn", {"factor": 4.0, "original_max_position_embeddings": 16}),
    ("yarn", {"factor": 4.0, "original_max_position_embeddings": 10**9}),
]


def _transformers(kind: str, parameters: dict[str, float]) -> tuple[torch.Tensor, torch.Tensor]:
    config = LlamaConfig(
        hidden_size=HEAD_DIM,
        num_attention_heads=1,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters={"rope_type": kind, "rope_theta": 500000.0, **parameters},
    )
    cosines, sines = LlamaRotaryEmbedding(config)(torch.zeros(1), POSITIONS[None])
    return cosines[0], sines[0]


@pytest.mark.parametrize(("kind", "parameters"), KINDS)
def test_the_angles_are_those_of_transformers(kind: str, parameters: dict[str, float]) -> None:
    """Catches a wrong blend, a factor applied twice, a missing gain.

    Both compute angles in float32; at position 4095 one rounding of a frequency moves an angle by
    4095 * 6e-8 = 2.5e-4, so that is the tolerance.
    """
    rope = RopeConfig(theta=500000.0, kind=kind, parameters=parameters)
    ours = rotation(rope, HEAD_DIM, POSITIONS, MAX_POSITIONS, torch.float32)
    for mine, theirs in zip(ours, _transformers(kind, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2.5e-4, rtol=0)


@pytest.mark.parametrize(("kind", "parameters"), KINDS[1:3] + KINDS[4:])
def test_that_comparison_can_fail(kind: str, parameters: dict[str, float]) -> None:
    """A kind taken for the default one is far outside the tolerance."""
    plain = rotation(RopeConfig(theta=500000.0), HEAD_DIM, POSITIONS, MAX_POSITIONS, torch.float32)
    assert (plain[0] - _transformers(kind, parameters)[0]).abs().max() > 0.01


def test_float64_angles_are_better_than_float32_ones() -> None:
    """Truth has to be one precision above the path under test, in the angles too."""
    rope = RopeConfig(theta=10000.0)
    wide = rotation(rope, HEAD_DIM, POSITIONS, MAX_POSITIONS, torch.float64)[0]
    narrow = rotation(rope, HEAD_DIM, POSITIONS, MAX_POSITIONS, torch.float32)[0]
    assert wide.dtype == torch.float64
    assert 0 < (wide - narrow).abs().max() < 2.5e-4


def test_rotation_turns_lane_d_with_lane_d_plus_half() -> None:
    """A quarter turn takes (1, 0) to (0, 1) in the pair (0, D/2): rotate-half, not interleaved."""
    x = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    quarter = torch.tensor([[0.0, 1.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    assert rotate(x, *quarter).tolist() == [[[0.0, 0.0, 1.0, 0.0]]]


def test_what_is_not_known_is_refused() -> None:
    """No kind is taken for another in silence."""
    for rope, word in (
        (RopeConfig(1e4, "longrope"), "longrope"),
        (RopeConfig(1e4, "linear"), "factor"),
        (RopeConfig(1e4, "default", {"partial_rotary_factor": 0.5}), "whole head"),
    ):
        with pytest.raises(UsageError, match=word):
            rotation(rope, HEAD_DIM, POSITIONS, MAX_POSITIONS, torch.float32)


def test_dynamic_is_refused_only_beyond_the_model() -> None:
    """Within the model's length a dynamic rope is the default one; beyond, it depends on history."""
    rope = RopeConfig(1e4, "dynamic", {"factor": 2.0})
    rotation(rope, HEAD_DIM, torch.tensor([15]), 16, torch.float32)
    with pytest.raises(UsageError, match="position 16"):
        rotation(rope, HEAD_DIM, torch.tensor([16]), 16, torch.float32)
