"""Faults in what both paths share, the checkpoint's files: lockstep is blind, the load report is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

from workbench.faults.fault import Fault
from workbench.faults.placement import Placement


def _config(edit: Callable[[dict[str, Any]], None], name: str = "config.json") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        data = json.loads(path.read_text(encoding="utf-8"))
        edit(data)
        path.write_text(json.dumps(data), encoding="utf-8")

    return change


def _tensors(edit: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return change


def _in_drafter(change: Callable[[Path], None]) -> Placement:
    return Placement(files=lambda _, drafter: change(drafter))


def _in_teacher(change: Callable[[Path], None]) -> Placement:
    return Placement(files=lambda teacher, _: change(teacher))


def _map_missing(tensors: dict[str, torch.Tensor]) -> None:
    tensors["d2t"] = torch.zeros_like(tensors["d2t"])


def _map_shifted(tensors: dict[str, torch.Tensor]) -> None:
    """Every draft token stands for the target token after the right one."""
    tensors["d2t"] = tensors["d2t"] + 1


def _map_shifted_unmarked(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["t2d"]
    tensors["d2t"] = tensors["d2t"].clamp(min=1) - 1


def _layer_twice(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if name.startswith("model.layers.1.")]:
        tensors[name] = tensors[name.replace("layers.1.", "layers.0.")].clone()


def _never_loaded(tensors: dict[str, torch.Tensor]) -> None:
    tensors["midlayer.mlp.up_proj.weight"] = torch.full_like(
        tensors["midlayer.mlp.up_proj.weight"], torch.nan
    )


def _teachers_head(tensors: dict[str, torch.Tensor]) -> None:
    """A head over the teacher's vocabulary in place of the drafter's own."""
    vocab_size = len(tensors["t2d"])
    repeats = -(-vocab_size // len(tensors["lm_head.weight"]))
    tensors["lm_head.weight"] = tensors["lm_head.weight"].repeat(repeats, 1)[:vocab_size].clone()


def _renamed(tensors: dict[str, torch.Tensor]) -> None:
    tensors["midlayer.feature_norm.weight"] = tensors.pop("midlayer.hidden_norm.weight")


def _other_dtype(tensors: dict[str, torch.Tensor]) -> None:
    tensors["fc.weight"] = tensors["fc.weight"].float()


def _normed_output(config: dict[str, Any]) -> None:
    config["eagle_config"] = {}
    config["norm_output"] = True


def _off_by_one_layer() -> Placement:
    def change(teacher: Path, drafter: Path) -> None:
        num_layers = json.loads((teacher / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]

        def edit(config: dict[str, Any]) -> None:
            layers = [2, num_layers // 2, num_layers - 3]
            config["eagle_config"] = {"eagle_aux_hidden_state_layer_ids": layers}

        _config(edit)(drafter)

    return Placement(files=change)


def _fault(number: int, **given: Any) -> Fault:
    return Fault(id=f"F-SHARED-{number:02d}", stage="load", guilty="both", common_mode=True, **given)


FAULTS: Final = (
    _fault(
        1,
        name="d2t-missing",
        about="The map from draft to target ids was never saved and is all zeros.",
        seen_in=("NVIDIA-NeMo/Automodel#2447", "eagle#222"),
        noticed_by=("load.refused", "drafter.d2t"),
        place=lambda: _in_drafter(_tensors(_map_missing)),
    ),
    _fault(
        2,
        name="d2t-off-by-one",
        about="The map was made for another vocabulary and is off by one.",
        seen_in=("speculators#602",),
        noticed_by=("load.refused", "drafter.d2t"),
        place=lambda: _in_drafter(_tensors(_map_shifted)),
    ),
    _fault(
        3,
        name="d2t-off-by-one-unmarked",
        about="The same, and there is no t2d beside it that could contradict.",
        seen_in=("mobilint/mblt-model-zoo#110", "verl-project/verl-SpeCo#66"),
        noticed_by=("drafter.t2d",),
        place=lambda: _in_drafter(_tensors(_map_shifted_unmarked)),
    ),
    _fault(
        4,
        name="aux-layer-convention-mixed-up",
        about="Ids of layer inputs are written where the layout counts layer outputs.",
        seen_in=("sgl#25454", "sgl#32334"),
        noticed_by=("drafter.aux_layers",),
        place=_off_by_one_layer,
    ),
    _fault(
        5,
        name="drafter-theta-dropped",
        about="The drafter's configuration lost its rope theta, and the default is used.",
        seen_in=("speculators#574", "wejoncy/sfllm#32"),
        noticed_by=("drafter.rope",),
        place=lambda: _in_drafter(_config(lambda config: config.pop("rope_theta"))),
    ),
    _fault(
        6,
        name="drafter-theta-another",
        about="The drafter's rope theta is not the teacher's.",
        seen_in=("NVIDIA-NeMo/Automodel#2399",),
        noticed_by=("pair.rope",),
        place=lambda: _in_drafter(_config(lambda config: config.update(rope_theta=123456.0))),
    ),
    _fault(
        7,
        name="layer-read-twice",
        about="The key mapping reads one teacher layer twice.",
        seen_in=("eagle commit b60b414: strict=False",),
        noticed_by=("teacher.layers_differ",),
        place=lambda: _in_teacher(_tensors(_layer_twice)),
    ),
    _fault(
        8,
        name="eos-of-two-minds",
        about="generation_config.json and config.json name different end tokens.",
        seen_in=("hf#46790", "eagle#178"),
        noticed_by=("pair.eos",),
        place=lambda: _in_teacher(
            _config(lambda config: config.update(eos_token_id=[5]), "generation_config.json")
        ),
    ),
    _fault(
        9,
        name="weights-never-loaded",
        about="A tensor of the drafter holds NaN.",
        seen_in=("sgl#7477", "speculators#994"),
        noticed_by=("drafter.finite",),
        place=lambda: _in_drafter(_tensors(_never_loaded)),
    ),
    _fault(
        10,
        name="norm-output-of-two-meanings",
        about="A flag that older trainers wrote with another meaning says that features are normed.",
        seen_in=("specforge#879",),
        noticed_by=("drafter.norms",),
        place=lambda: _in_drafter(_config(_normed_output)),
    ),
    _fault(
        11,
        name="head-of-the-teacher",
        about="The drafter's file holds a head over the teacher's vocabulary.",
        seen_in=("va#9795",),
        noticed_by=("load.refused", "drafter.d2t"),
        place=lambda: _in_drafter(_tensors(_teachers_head)),
    ),
    _fault(
        12,
        name="tensor-under-another-name",
        about="A tensor has a name that nothing asks for, and the one asked for is missing.",
        seen_in=("eagle commit b60b414: strict=False", "sgl#28196"),
        noticed_by=("load.refused",),
        place=lambda: _in_drafter(_tensors(_renamed)),
    ),
    _fault(
        13,
        name="one-tensor-of-another-dtype",
        about="One tensor of the drafter has another dtype than the rest.",
        seen_in=("vllm#25883", "vllm#49900"),
        noticed_by=("drafter.dtypes",),
        place=lambda: _in_drafter(_tensors(_other_dtype)),
    ),
)
