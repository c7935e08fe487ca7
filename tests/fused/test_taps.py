"""Taps: the features of both paths are the same teacher rows, whatever a drafter declares."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from reference.model import ReferenceModels
from reference.teacher import prefill
from tests.fused.support import plain_teacher, small_pair
from tracing.models import ModelPair, Taps
from workbench.fused.attention import AttentionCall
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.operators import Operators
from workbench.fused.teacher import Teacher

PROMPT = [3, 1, 4, 1, 5]


@dataclass(frozen=True)
class Heads:
    """The configuration of a drafter of another kind."""

    taps: Taps


@pytest.mark.parametrize(
    "taps",
    [Taps(), Taps(final_hidden=True), Taps(layers=(1,)), Taps(layers=(0, 2), final_hidden=True)],
    ids=["none", "final hidden", "one layer", "two layers and final hidden"],
)
@torch.no_grad()
def test_features_are_the_rows_that_transformers_gives(taps: Taps) -> None:
    pair = replace(small_pair(2), drafter=Heads(taps))
    hidden = plain_teacher(pair).model(torch.tensor([PROMPT]), output_hidden_states=True)
    entering_norm: list[torch.Tensor] = []
    norm = plain_teacher(pair)
    norm.model.norm.register_forward_pre_hook(lambda _, given: entering_norm.append(given[0]))
    norm.model(torch.tensor([PROMPT]))
    boundaries = [*hidden.hidden_states[:-1], entering_norm[0]]
    rows = [boundaries[layer][0] for layer in taps.layers]
    rows += [hidden.last_hidden_state[0]] if taps.final_hidden else []
    expected = torch.cat(rows, dim=-1) if rows else torch.zeros(len(PROMPT), 0)
    assert expected.shape == (len(PROMPT), pair.feature_width)
    assert pair.feature_width == (len(taps.layers) + taps.final_hidden) * pair.teacher.hidden_size

    ours = prefill(ReferenceModels(pair), PROMPT).features
    fused = _fused(pair)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(fused, expected, rtol=0, atol=1e-5)


def _fused(pair: ModelPair) -> torch.Tensor:
    teacher = Teacher(
        pair.teacher,
        pair.teacher_weights,
        pair.taps,
        Operators(frozenset({"norm", "rotary", "swiglu"})),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    call = AttentionCall(fused=False, causal=True)
    cache = ContiguousCache(pair.teacher.num_layers)
    with torch.inference_mode():
        made = teacher.forward(torch.tensor(PROMPT), torch.arange(len(PROMPT)), cache, call)
    return made.features.clone()


def test_a_second_teacher_has_no_taps() -> None:
    pair = small_pair(2)
    assert replace(pair, drafter=pair.teacher, proposer="draft_model").feature_width == 0
