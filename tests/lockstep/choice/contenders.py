"""All four kinds of drafter, and a second teacher, as contenders over tiny pairs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from tests.pairs import tiny_pair
from tracing.models import MedusaConfig, ModelPair
from tracing.settings import DecodeSettings
from workbench.fused.path import make_path
from workbench.lockstep.choice.trials import Contender

EAGER = frozenset({"attention", "norm", "rotary", "swiglu"})
BASE = DecodeSettings(max_new_tokens=64)
SHAPES: dict[str, tuple[str, DecodeSettings]] = {
    "tree": ("eagle3", replace(BASE, tree_nodes=9, depth=2, top_k=3)),
    "chain": ("eagle3", replace(BASE, tree_nodes=4, depth=2, top_k=1)),
    "heads": ("medusa", replace(BASE, tree_nodes=6, static_tree="0 1 0.0 0.1 0.0.0")),
    "lookup": ("lookup", replace(BASE, tree_nodes=6)),
    "model": ("draft_model", replace(BASE, tree_nodes=6, depth=2, top_k=2)),
}


@cache
def pair_of(proposer: str) -> ModelPair:
    """One teacher with a drafter of a kind, each right about half of the time."""
    pair = tiny_pair(3, head_dim=16)
    if proposer == "eagle3":
        return pair
    bare = replace(pair, proposer=proposer, target_from_draft=None, drafter=None, drafter_weights={})
    if proposer == "lookup":
        return bare
    if proposer == "draft_model":
        draft = tiny_pair(4, layers=1, head_dim=16)
        weights = {name: pair.teacher_weights[name] + 0.02 * t for name, t in draft.teacher_weights.items()}
        return replace(bare, drafter=draft.teacher, drafter_weights=weights)
    random = torch.Generator().manual_seed(1)
    hidden, head = pair.teacher.hidden_size, pair.teacher_weights["lm_head.weight"]
    weights = {f"lm_heads.{number}.weight": head.clone() for number in range(3)}
    for number in range(3):
        weights[f"blocks.{number}.layers.0.weight"] = 0.1 * torch.randn(hidden, hidden, generator=random)
        weights[f"blocks.{number}.layers.0.bias"] = torch.zeros(hidden)
    config = MedusaConfig(hidden, 3, 1, len(head))
    ids = torch.arange(len(head))
    return replace(bare, drafter=config, drafter_weights=weights, target_from_draft=ids)


@cache
def other_teacher() -> ModelPair:
    """Another teacher of the same vocabulary, without a checkpoint of a drafter."""
    pair = tiny_pair(8, head_dim=16, layers=1)
    return replace(pair, proposer="lookup", target_from_draft=None, drafter=None, drafter_weights={})


@cache
def contenders() -> dict[str, Contender]:
    """Every kind over the main teacher, and lookup over the other one."""
    made = {}
    for name, (proposer, settings) in SHAPES.items():
        path = make_path(pair_of(proposer), settings, eager=EAGER)
        made[name] = Contender(name, "main", proposer, path, settings)
    settings = SHAPES["lookup"][1]
    path = make_path(other_teacher(), settings, eager=EAGER)
    return {**made, "small": Contender("small", "small", "lookup", path, settings)}
