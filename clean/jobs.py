"""Random lawful jobs: pairs, windows, dtypes, layouts, drafters, tree shapes and ways to break a tie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

import torch

from tests.pairs import tiny_pair
from tracing.models import MedusaConfig, ModelPair
from tracing.settings import COMMIT_MODES, KV_LAYOUTS, LOOKUP_RULES, RUNGS, DecodeSettings
from workbench.faults.bench import shipped_bench
from workbench.faults.experiment import Setup
from workbench.faults.placement import Placement, on_function
from workbench.fused.drafters import search

TEACHERS: Final = ("llama", "qwen2", "qwen3", "mistral", "PanguEmbedded")
DTYPES: Final = ("float32", "bfloat16", "float16")
STATIC_TREE: Final = "0 1 2 0.0 0.1 1.0 0.0.0"


@dataclass(frozen=True, slots=True)
class Job:
    """One clean run.

    Attributes:
        seed: Everything follows from it.
        about: What it is, in a few words, for the table and for a person who repeats it.
        setup: The decoding job.
        placement: How equal scores are ordered; no fault.
    """

    seed: int
    about: str
    setup: Setup
    placement: Placement


def job(seed: int) -> Job:
    """Return the job of a seed; one in eight is of the shipped pair, the others of random ones."""
    random = Random(seed)
    if seed % 8 == 7:
        return _on_shipped_pair(seed, random)
    proposer = random.choice(("eagle3", "eagle3", "medusa", "lookup", "draft_model"))
    pair = _pair(random, proposer)
    settings = _settings(random, proposer)
    prompt = tuple(random.randrange(3, pair.teacher.vocab_size) for _ in range(random.randint(1, 40)))
    setup = Setup(
        pair=pair,
        prompt=prompt * random.choice((1, 1, 2)),
        settings=settings,
        dtype=random.choice(DTYPES),
        rung=random.choice(RUNGS),
    )
    ties = random.choice(("stable", "topk", "reversed"))
    teacher = pair.teacher
    windows = f"windows {teacher.sliding_window or 0}/{getattr(pair.drafter, 'window', 0)}"
    about = (
        f"{proposer} {teacher.model_type} {setup.dtype} {settings.kv_layout} {setup.rung} {windows} {ties}"
    )
    return Job(seed, about, setup, TIES[ties])


def _on_shipped_pair(seed: int, random: Random) -> Job:
    """The shipped pair with a drafter of any kind; trained weights have larger outliers than random ones."""
    need = random.choice(("plain", "medusa", "lookup", "draft_model"))
    setup = shipped_bench().setup(need)
    start = random.randrange(len(setup.prompt))
    settings = replace(
        setup.settings,
        max_new_tokens=random.randint(1, 16),
        commit_mode=random.choice(COMMIT_MODES),
        kv_layout=random.choice(KV_LAYOUTS),
        block_size=16,
    )
    made = replace(
        setup,
        prompt=setup.prompt[start : start + random.randint(1, 60)],
        settings=settings,
        dtype=random.choice(DTYPES),
        rung=random.choice(RUNGS),
    )
    ties = random.choice(sorted(TIES))
    about = f"{need} shipped {made.dtype} {settings.kv_layout} {made.rung} {ties}"
    return Job(seed, about, made, TIES[ties])


def _pair(random: Random, proposer: str) -> ModelPair:
    layers, window = random.randint(1, 3), random.choice((None, None, 3, 8, 24))
    per_layer = random.random() < 0.5 and layers > 1 and window is not None
    pair = tiny_pair(
        random.randrange(1 << 20),
        random.choice(TEACHERS),
        layers=layers,
        head_dim=16,
        sliding_window=window,
        windowed_layers=tuple(range(0, layers, 2)) if per_layer else None,
        drafter_window=random.choice((0, 0, 4, 16)),
        norm_before_residual=random.random() < 0.3,
        norm_output=random.random() < 0.3,
        fc_norm=random.random() < 0.3,
        noise=random.choice((0.1, 0.3, 1.0)),
        eos_token_ids=random.sample(range(3, 64), random.randint(0, 2)),
        dtype=random.choice((torch.float32, torch.bfloat16)),
    )
    made: ModelPair = _DRAFTERS[proposer](pair, random)
    return made


def _lookup(pair: ModelPair, _random: Random) -> ModelPair:
    return _with(pair, "lookup", None, {})


def _medusa(pair: ModelPair, random: Random) -> ModelPair:
    hidden, vocab = pair.teacher.hidden_size, pair.teacher.vocab_size
    generator = torch.Generator().manual_seed(random.randrange(1 << 20))
    head = pair.teacher_weights["lm_head.weight"]
    weights = {}
    for number in range(3):
        weights[f"blocks.{number}.layers.0.weight"] = torch.randn(hidden, hidden, generator=generator) * 0.1
        weights[f"blocks.{number}.layers.0.bias"] = torch.randn(hidden, generator=generator) * 0.1
        noise = torch.randn(head.shape, generator=generator)
        weights[f"lm_heads.{number}.weight"] = head + 0.1 * noise.to(head.dtype)
    return _with(pair, "medusa", MedusaConfig(hidden, 3, 1, vocab), weights)


def _draft_model(pair: ModelPair, random: Random) -> ModelPair:
    teacher = pair.teacher
    draft = tiny_pair(random.randrange(1 << 20), teacher.model_type, layers=1, head_dim=16)
    weights = {
        name: pair.teacher_weights[name] + 0.05 * tensor for name, tensor in draft.teacher_weights.items()
    }
    return _with(pair, "draft_model", draft.teacher, weights)


def _with(pair: ModelPair, proposer: str, config: Any, weights: dict[str, Any]) -> ModelPair:
    return replace(pair, drafter=config, drafter_weights=weights, target_from_draft=None, proposer=proposer)


_DRAFTERS: Final = {
    "eagle3": lambda pair, _random: pair,
    "lookup": _lookup,
    "medusa": _medusa,
    "draft_model": _draft_model,
}


def _settings(random: Random, proposer: str) -> DecodeSettings:
    depth, top_k = random.randint(0, 4), random.randint(1, 6)
    nodes = 8 + random.randint(0, 2) if proposer == "medusa" else random.randint(2, 16)
    return DecodeSettings(
        tree_nodes=nodes,
        depth=depth,
        top_k=top_k,
        max_new_tokens=random.randint(1, 24),
        commit_mode=random.choice(COMMIT_MODES),
        kv_layout=random.choice(KV_LAYOUTS),
        block_size=16,
        lookup_rule=random.choice(LOOKUP_RULES),
        lookup_max=random.randint(1, 4),
        static_tree=STATIC_TREE,
    )


def _topk(_original: Any, scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Equal scores as `torch.topk` leaves them."""
    values, indices = scores.topk(k, dim=1)
    return values, indices


def _reversed(_original: Any, scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Equal scores the other way round: the higher number first."""
    flipped = scores.flip(1).sort(dim=1, descending=True, stable=True)
    return flipped.values[:, :k], scores.shape[1] - 1 - flipped.indices[:, :k]


def _in_both(change: Any) -> Placement:
    return on_function(search, "stable_top_k")(change)


TIES: Final = {"stable": Placement(), "topk": _in_both(_topk), "reversed": _in_both(_reversed)}
