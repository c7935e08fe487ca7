"""Experts for a teacher that has none: its MLPs become the shared experts, beside random ones in groups."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from tracing.errors import UsageError
from tracing.files import environment_problem
from tracing.models import Experts, TeacherConfig
from workbench.checkpoints.files import SINGLE
from workbench.checkpoints.loaded_teacher import load_teacher
from workbench.checkpoints.shapes import teacher_shapes
from workbench.checkpoints.teacher import PANGU_MOE

GAIN: Final = 0.25
"""Size of what the experts add beside the shared one: enough to be judged, little enough for a drafter."""
SCALES: Final = 0.3
"""Standard deviation of the router's scales about 1."""
REPLACED: Final = ("auto_map", "bias", "mlp_bias")
WEIGHTS: Final = (".safetensors", ".safetensors.index.json", ".bin")


def with_experts(
    config: TeacherConfig, weights: Mapping[str, Tensor], experts: Experts, seed: int = 0
) -> tuple[TeacherConfig, dict[str, Tensor]]:
    """Return a teacher with experts; missing biases of attention are zeros.

    Args:
        config: Of a dense teacher.
        weights: By name.
        experts: Wanted; the shared width is the teacher's own.
        seed: Of routers, scales and experts.

    Raises:
        UsageError: The teacher has experts, int4 weights, or what this architecture lacks.
    """
    if config.experts is not None or config.quantisation is not None:
        raise UsageError("experts are added to a dense teacher whose weights are plain; this one has others")
    if config.mlp_bias or config.qk_norm or config.sliding_window is not None:
        raise UsageError("teachers with experts have no bias in the MLP, no norm of q and k and no window")
    shared = replace(experts, shared_width=config.intermediate_size)
    made = replace(config, model_type=PANGU_MOE, experts=shared, qkv_bias=True, o_bias=True, hf_config={})
    random, grown = torch.Generator().manual_seed(seed), {}
    like = next(iter(weights.values())).dtype
    for name, shape in teacher_shapes(made).items():
        dense = name.replace(".shared_expert.", ".")
        if dense in weights:
            grown[name] = weights[dense]
        elif name.endswith(".bias"):
            grown[name] = torch.zeros(shape, dtype=like)
        elif name.endswith("router_scale"):
            grown[name] = (1 + SCALES * torch.randn(shape, generator=random)).to(like)
        else:
            gain = GAIN * experts.num_groups if name.endswith("down_proj.weight") else 1.0
            grown[name] = (torch.randn(shape, generator=random) * gain * shape[1] ** -0.5).to(like)
    return made, grown


def write_with_experts(source: Path, target: Path, experts: Experts, seed: int) -> None:
    """Write a teacher's directory with experts in place of its MLPs; everything but weights is copied.

    Raises:
        UsageError: As `with_experts`.
        CheckpointError: The source is no teacher.
        EnvironmentProblemError: The target cannot be written.
    """
    teacher = load_teacher(source)
    config, weights = with_experts(teacher.config, teacher.crossing, experts, seed)
    assert config.experts is not None
    written: dict[str, Any] = {
        **{key: value for key, value in teacher.raw_config.items() if key not in REPLACED},
        "architectures": ["PanguProMoEForCausalLM"],
        "model_type": PANGU_MOE,
        "attention_bias": True,
        "num_experts": experts.num_experts,
        "num_experts_per_tok": experts.num_groups,
        "moe_intermediate_size": experts.width,
        "shared_expert_intermediate_size": config.experts.shared_width,
    }
    try:
        target.mkdir(parents=True)
        for path in sorted(source.iterdir()):
            if path.is_file() and path.name != "config.json" and not path.name.endswith(WEIGHTS):
                shutil.copy2(path, target / path.name)
        (target / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        dropped = {"lm_head.weight"} if config.tie_word_embeddings else set()
        kept = {name: weights[name].contiguous() for name in weights.keys() - dropped}
        save_file(kept, target / SINGLE, metadata={"format": "pt"})
    except OSError as problem:
        raise environment_problem(target, problem) from None
