"""A teacher with experts in groups on both paths: routing equal to golden data, and lockstep.

Which bugs these catch: a softmax by group, renormalised weights, the scale of another expert, a tie to the
later expert, local ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reference.experts import expert_shares
from tests.expert_pairs import expert_pair
from tests.lockstep.runs import SMALL, Setup, run
from tracing.models import Experts
from workbench.fused import experts as fused_experts

CASES = json.loads(Path(__file__).parents[1].joinpath("data/moge.json").read_text())["pangu_cases"]
Routed = tuple[Tensor, Tensor]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["tag"])
def test_routing_is_that_of_the_public_code(case: dict[str, Any]) -> None:
    logits, scale = torch.tensor(case["logits"]), torch.tensor(case["router_scale"])
    wanted_ids, wanted = torch.tensor(case["topk_ids"]), torch.tensor(case["topk_weights"])
    ids, weights = fused_experts.routed(logits, scale, case["topk"])
    assert torch.equal(ids, wanted_ids.long())
    torch.testing.assert_close(weights, wanted, rtol=2e-6, atol=1e-9)
    sizes = Experts(case["num_experts"], case["topk"], 1, 1)
    shares = expert_shares(logits, scale[None], sizes)
    expected = torch.zeros_like(shares).scatter(1, wanted_ids.long(), wanted)
    torch.testing.assert_close(shares, expected, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "paged"])
def test_both_paths_agree(tmp_path: Path, dtype: str, layout: Any) -> None:
    settings = replace(SMALL, kv_layout=layout)
    outcome = run(tmp_path / "run", Setup(expert_pair(), settings, dtype=dtype))
    assert outcome.verdict.verdict == "ok", outcome.first


def renormalised(logits: Tensor, scale: Tensor, groups: int, real: Callable[..., Routed]) -> Routed:
    ids, weights = real(logits, scale, groups)
    return ids, weights / weights.sum(-1, keepdim=True)


def by_group(logits: Tensor, scale: Tensor, groups: int, real: Callable[..., Routed]) -> Routed:
    ids, _ = real(logits, scale, groups)
    scores = torch.softmax(logits.float().view(len(logits), groups, -1), -1).flatten(1)
    return ids, scores.gather(1, ids) * scale[ids]


def scale_of_the_next(logits: Tensor, scale: Tensor, groups: int, real: Callable[..., Routed]) -> Routed:
    return real(logits, scale.roll(1), groups)


def local_ids(logits: Tensor, scale: Tensor, groups: int, real: Callable[..., Routed]) -> Routed:
    ids, weights = real(logits, scale, groups)
    return ids % (logits.shape[1] // groups), weights


@pytest.mark.parametrize("mistake", [renormalised, by_group, scale_of_the_next, local_ids])
def test_wrong_routing_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Callable[..., Routed]
) -> None:
    real = fused_experts.routed
    monkeypatch.setattr(fused_experts, "routed", lambda *given: mistake(*given, real))
    outcome = run(tmp_path / "run", Setup(expert_pair()))
    assert outcome.first is not None
    assert outcome.first.guilty == "fused"
    assert outcome.first.moment.stage in ("prefill", "verify")
