"""A teacher with experts in groups on both paths: routing equal to golden data, and lockstep.

Mistakes of routing are faults of the catalogue; here is what is none, and what is not checked.
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
from tracing.models import Experts, ModelPair
from tracing.reader import open_run
from tracing.settings import RUNGS
from tracing.stages import Stages
from workbench.checkpoints.quantised import parse_weights, quantised_teacher
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
    assert torch.equal(shares.expert_ids, wanted_ids.long())
    expected = torch.zeros_like(shares.weights).scatter(1, wanted_ids.long(), wanted)
    torch.testing.assert_close(shares.weights, expected, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "paged"])
def test_both_paths_agree(tmp_path: Path, dtype: str, layout: Any) -> None:
    settings = replace(SMALL, kv_layout=layout)
    outcome = run(tmp_path / "run", Setup(expert_pair(), settings, dtype=dtype))
    assert outcome.verdict.verdict == "ok", outcome.first


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_experts_in_int4_agree_too(tmp_path: Path, dtype: str) -> None:
    pair, wanted = expert_pair(), parse_weights("w4a16:gptq:32")
    assert wanted is not None
    teacher, weights = quantised_teacher(pair.teacher, pair.teacher_weights, wanted)
    assert "model.layers.1.mlp.experts.3.up_proj.packed" in weights
    assert "model.layers.1.mlp.shared_expert.down_proj.packed" in weights
    assert "model.layers.1.mlp.gate.weight" in weights  # a router is not rounded
    rounded = replace(pair, teacher=teacher, teacher_weights=weights)
    outcome = run(tmp_path / "run", Setup(rounded, replace(SMALL, max_new_tokens=6), dtype=dtype))
    assert outcome.verdict.verdict == "ok", outcome.first


def tied_pair(gap: float) -> ModelPair:
    """Experts 0 and 1 of each layer differ by about `gap` in the router's logits, and in all else much."""
    pair = expert_pair()
    weights = dict(pair.teacher_weights)
    for layer in range(pair.teacher.num_layers):
        name = f"model.layers.{layer}.mlp.gate.weight"
        gate = weights[name].clone()
        gate[1] = gate[0] * (1 - gap)
        weights[name] = gate
    return replace(pair, teacher_weights=weights)


def to_the_next(logits: Tensor, scale: Tensor, groups: int, real: Callable[..., Routed]) -> Routed:
    """Expert 1 works where 0 should."""
    ids, _ = real(logits, scale, groups)
    ids = torch.where(ids == 0, 1, ids)
    return ids, torch.softmax(logits.float(), -1).gather(1, ids) * scale.float()[ids]


@pytest.mark.parametrize("rung", RUNGS)
def test_forced_near_ties_are_counted_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rung: str
) -> None:
    real = fused_experts.routed
    monkeypatch.setattr(fused_experts, "routed", lambda *given: to_the_next(*given, real))
    settings = replace(SMALL, max_new_tokens=8)
    outcome = run(tmp_path / "run", Setup(tied_pair(1e-7), settings, rung=rung))
    assert outcome.verdict.verdict == "ok", outcome.first
    assert outcome.verdict.near_ties == outcome.verdict.routing_near_ties > 0


def test_the_same_choice_with_a_clear_gap_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fused_experts.routed
    monkeypatch.setattr(fused_experts, "routed", lambda *given: to_the_next(*given, real))
    outcome = run(tmp_path / "run", Setup(tied_pair(0.05)))
    assert outcome.first is not None
    assert (outcome.first.rule, outcome.first.guilty) == ("JUDGE-EXPERTS", "fused")


def without_ids(stages: Stages) -> Stages:
    """A path that does not say which experts worked."""

    def bare(stage: Callable[..., Any], **nothing: None) -> Callable[..., Any]:
        return lambda *given: replace(stage(*given), **nothing)

    assert stages.prefill is not None
    assert stages.verify is not None
    prefill = bare(stages.prefill, expert_ids=None)
    verify = bare(stages.verify, expert_ids=None, expert_loads=None, router_logits=None)
    return replace(stages, prefill=prefill, verify=verify)


def test_without_ids_only_what_lies_behind_a_near_tie_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SMALL, max_new_tokens=8)
    sure = run(tmp_path / "sure", Setup(expert_pair(), settings), fused=without_ids)
    assert sure.verdict.verdict == "ok", sure.first
    real = fused_experts.routed
    monkeypatch.setattr(fused_experts, "routed", lambda *given: to_the_next(*given, real))
    tied = run(tmp_path / "tied", Setup(tied_pair(1e-7), settings), fused=without_ids)
    assert tied.first is None
    assert tied.verdict.verdict == "inconclusive"
    reasons = {str(each) for each in tied.verdict.not_checked}
    assert any("other experts than the reference's" in reason for reason in reasons)


def test_ids_and_loads_are_recorded(tmp_path: Path) -> None:
    run(tmp_path / "run", Setup(expert_pair(), replace(SMALL, max_new_tokens=4)))
    row = next(iter(open_run(tmp_path / "run").path("fused")))
    ids, loads = row["expert_ids"], row["expert_loads"]
    assert ids.size == 2 * SMALL.tree_nodes * 4
    assert loads.size == 2 * 16
    assert loads.sum() == ids.size
