"""Faults in what both paths share, the checkpoint's files: lockstep is blind, the load report is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

from workbench.faults.fault import fault
from workbench.faults.placement import Placement, Spoil, on_files

Tensors = dict[str, torch.Tensor]
Config = dict[str, Any]
CONFIG: Final = "config.json"

file_fault: Final = partial(fault, stage="load", guilty="both")


def _rewrite_json(path: Path, edit: Callable[[Config], object]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def _rewrite_tensors(folder: Path, edit: Callable[[Tensors], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def drafter_tensors(edit: Spoil) -> Placement:
    """Edit the drafter's tensors."""
    return on_files(lambda _, drafter: _rewrite_tensors(drafter, edit))


def teacher_tensors(edit: Spoil) -> Placement:
    """Edit the teacher's tensors."""
    return on_files(lambda teacher, _: _rewrite_tensors(teacher, edit))


def drafter_config(edit: Spoil) -> Placement:
    """Edit the drafter's configuration."""
    return on_files(lambda _, drafter: _rewrite_json(drafter / CONFIG, edit))


drafter_fault: Final = partial(file_fault, placed=drafter_tensors)
config_fault: Final = partial(file_fault, placed=drafter_config)


@drafter_fault(
    "F-SHARED-01", "NVIDIA-NeMo/Automodel#2447", "eagle#222", noticed_by=("load.refused", "drafter.d2t")
)
def d2t_missing(tensors: Tensors) -> None:
    """The map from draft to target ids was never saved and is all zeros."""
    tensors["d2t"] = torch.zeros_like(tensors["d2t"])


@drafter_fault("F-SHARED-02", "speculators#602", noticed_by=("load.refused", "drafter.d2t"))
def d2t_off_by_one(tensors: Tensors) -> None:
    """The map was made for another vocabulary and is off by one."""
    tensors["d2t"] = tensors["d2t"] + 1


@drafter_fault(
    "F-SHARED-03", "mobilint/mblt-model-zoo#110", "verl-project/verl-SpeCo#66", noticed_by=("drafter.t2d",)
)
def d2t_off_by_one_unmarked(tensors: Tensors) -> None:
    """The same, and there is no t2d that could contradict."""
    del tensors["t2d"]
    tensors["d2t"] = tensors["d2t"].clamp(min=1) - 1


@file_fault("F-SHARED-04", "sgl#25454", "sgl#32334", noticed_by=("drafter.aux_layers",), placed=on_files)
def aux_layer_convention_mixed_up(teacher: Path, drafter: Path) -> None:
    """Ids of layer inputs were shifted once more, and are written where the layout counts layer outputs."""
    num_layers = json.loads((teacher / CONFIG).read_text(encoding="utf-8"))["num_hidden_layers"]
    layers = {"eagle_aux_hidden_state_layer_ids": [3, num_layers // 2 + 1, num_layers - 2]}
    edit = {"eagle_config": layers, "eagle_aux_hidden_state_layer_ids": None}
    _rewrite_json(drafter / CONFIG, lambda config: config.update(edit))


@config_fault("F-SHARED-05", "speculators#574", "wejoncy/sfllm#32", noticed_by=("drafter.rope",))
def drafter_theta_dropped(config: Config) -> None:
    """The drafter's configuration lost its rope theta, and the default is used."""
    del config["rope_theta"]


@config_fault("F-SHARED-06", "NVIDIA-NeMo/Automodel#2399", noticed_by=("pair.rope",))
def drafter_theta_another(config: Config) -> None:
    """The drafter's rope theta is not the teacher's."""
    config["rope_theta"] = 123456.0


@file_fault(
    "F-SHARED-07",
    "eagle commit b60b414: strict=False",
    noticed_by=("teacher.layers_differ",),
    placed=teacher_tensors,
)
def layer_read_twice(tensors: Tensors) -> None:
    """The key mapping reads one teacher layer twice."""
    for name in [name for name in tensors if name.startswith("model.layers.1.")]:
        tensors[name] = tensors[name.replace("layers.1.", "layers.0.")].clone()


@file_fault("F-SHARED-08", "hf#46790", "eagle#178", noticed_by=("pair.eos",), placed=on_files)
def eos_of_two_minds(teacher: Path, _: Path) -> None:
    """generation_config.json and config.json name different end tokens."""
    _rewrite_json(teacher / "generation_config.json", lambda config: config.update(eos_token_id=[5]))


@drafter_fault("F-SHARED-09", "sgl#7477", "speculators#994", noticed_by=("drafter.finite",))
def weights_never_loaded(tensors: Tensors) -> None:
    """A tensor of the drafter holds NaN."""
    tensors["midlayer.mlp.up_proj.weight"].fill_(torch.nan)


@config_fault("F-SHARED-10", "specforge#879", noticed_by=("drafter.norms",))
def norm_output_of_two_meanings(config: Config) -> None:
    """A flag that older trainers wrote with another meaning says that features are normed."""
    config.update(eagle_config={}, norm_output=True)


@drafter_fault("F-SHARED-11", "va#9795", noticed_by=("load.refused", "drafter.d2t"))
def head_of_the_teacher(tensors: Tensors) -> None:
    """The drafter's file holds a head over the teacher's vocabulary."""
    vocab_size = len(tensors["t2d"])
    repeats = -(-vocab_size // len(tensors["lm_head.weight"]))
    tensors["lm_head.weight"] = tensors["lm_head.weight"].repeat(repeats, 1)[:vocab_size].clone()


@drafter_fault("F-SHARED-12", "eagle commit b60b414: strict=False", "sgl#28196", noticed_by=("load.refused",))
def tensor_under_another_name(tensors: Tensors) -> None:
    """A tensor has a name that nothing asks for, and the one asked for is missing."""
    tensors["midlayer.feature_norm.weight"] = tensors.pop("midlayer.hidden_norm.weight")


@drafter_fault("F-SHARED-13", "vllm#25883", "vllm#49900", noticed_by=("drafter.dtypes",))
def one_tensor_of_another_dtype(tensors: Tensors) -> None:
    """One tensor of the drafter has another dtype than the rest."""
    tensors["fc.weight"] = tensors["fc.weight"].float()
