"""What training does not do to weights is a warning with its reason; sane pairs are silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import synthetic
from tests.checkpoints.synthetic import H
from workbench.checkpoints.load import LoadedPair, load_pair
from workbench.checkpoints.shipped import shipped_pair_dirs
from workbench.checkpoints.suspicions import BLIND, epsilon, looks_trained, suspicions


def warned(loaded: LoadedPair) -> dict[str, str]:
    ids = ("drafter.weights", "teacher.weights", "drafter.epsilon", "teacher.epsilon")
    return {one.id: one.sentence for one in loaded.report.checks if one.id in ids and one.status != "ok"}


def test_the_shipped_pair_is_silent_and_says_what_is_blind() -> None:
    loaded = load_pair(*shipped_pair_dirs())
    assert warned(loaded) == {}
    blind = next(one for one in loaded.report.checks if one.id == "pair.blind")
    assert all(what in blind.sentence for what in BLIND)
    assert blind.status == "ok"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("norms", ["ones", "random"])
def test_random_weights_are_silent(seed: int, norms: str) -> None:
    torch.manual_seed(seed)
    weights = {name: torch.randn_like(tensor) * 0.02 for name, tensor in synthetic.drafter_tensors().items()
               if tensor.is_floating_point()}  # fmt: skip
    if norms == "ones":
        weights = {name: torch.ones(H) if tensor.dim() == 1 else tensor for name, tensor in weights.items()}
    assert suspicions("drafter", weights).status == "ok"


@pytest.mark.parametrize("shape", [(16, 48), (32, 96), (256, 768), (40, 16)])
def test_random_matrices_do_not_look_trained(shape: tuple[int, int]) -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        assert not looks_trained(torch.randn(*shape, generator=generator) * 0.02)
        assert not looks_trained(torch.rand(*shape, generator=generator) - 0.5)


def test_the_shipped_drafter_looks_trained(draft_dir: Path, llama_dir: Path) -> None:
    assert load_pair(*shipped_pair_dirs()).report.acceptance_tells
    assert not load_pair(llama_dir, draft_dir).report.acceptance_tells


EDITS: dict[str, tuple[dict[str, Callable[[Any], Any]], str]] = {
    "ones": ({"midlayer__hidden_norm__weight": torch.ones_like}, "hidden_norm.weight is 1 everywhere"),
    "zero norm": ({"norm__weight": torch.zeros_like}, "norm.weight is 0 everywhere"),
    "dead": ({"midlayer__mlp__up_proj__weight": torch.zeros_like}, "up_proj.weight is 0 everywhere"),
    "scale": ({"lm_head__weight": lambda tensor: tensor * 1e4}, "lm_head.weight has a root mean square"),
    "thirds": ({"fc__weight": lambda tensor: tensor[:, :H].repeat(1, 3)}, "two thirds of fc.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_each_suspicion_has_been_seen(llama_dir: Path, draft_dir: Path, name: str) -> None:
    edit, sentence = EDITS[name]
    assert warned(load_pair(llama_dir, draft_dir)) == {}
    synthetic.edit_weights(draft_dir, **edit)
    assert sentence in warned(load_pair(llama_dir, draft_dir))["drafter.weights"]


def test_one_projection_read_twice(llama_dir: Path, draft_dir: Path) -> None:
    gate = synthetic.drafter_tensors()["midlayer.mlp.gate_proj.weight"]
    synthetic.edit_weights(draft_dir, midlayer__mlp__up_proj__weight=gate)
    assert "read twice (certain)" in warned(load_pair(llama_dir, draft_dir))["drafter.weights"]


def test_epsilon_of_no_published_model_and_one_that_is_a_guess(llama_dir: Path, draft_dir: Path) -> None:
    synthetic.edit_json(draft_dir / "config.json", rms_norm_eps=0.1)
    assert "published models have" in warned(load_pair(llama_dir, draft_dir))["drafter.epsilon"]
    synthetic.edit_json(draft_dir / "config.json", rms_norm_eps=...)
    assert "this is a guess" in warned(load_pair(llama_dir, draft_dir))["drafter.epsilon"]
    assert epsilon("drafter", 1e-6, written=True).status == "ok"
