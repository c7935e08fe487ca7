"""The shipped pair as an engine loads it: weights as they are, another config.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from workbench.checkpoints.shipped import shipped_pair_dirs

DRAFT_MODEL: Final = "draft_model"
"""Beside the pair: the teacher without its last layer."""
MEDUSA: Final = "medusa"
"""Beside the pair: the shipped Medusa heads over the whole vocabulary."""


def llama_teacher(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json of an openPangu-Embedded teacher as Llama with a bias on its attention."""
    kept = {key: value for key, value in config.items() if key not in {"bias", "auto_map"}}
    return {
        **kept,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": bool(config.get("bias", False)),
    }


def llama_drafter(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json of an EAGLE-3 drafter under the architecture by which vLLM knows it."""
    return {**config, "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama"}


def convert_pair(teacher: Path, drafter: Path, folder: Path) -> tuple[Path, Path]:
    """Write both checkpoints, config.json changed, a draft model and Medusa heads; return the first two."""
    places = []
    for name, source, change in (("teacher", teacher, llama_teacher), ("drafter", drafter, llama_drafter)):
        place = folder / name
        shutil.copytree(source, place, dirs_exist_ok=True)
        config = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(change(config), indent=1))
        places.append(place)
    shorten(places[0], folder / DRAFT_MODEL)
    widen_heads(shipped_pair_dirs(MEDUSA)[1], folder / MEDUSA)
    return places[0], places[1]


def shorten(teacher: Path, place: Path) -> None:
    """Copy a teacher without its last layer: a draft model that is often right and not always."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(teacher, place, dirs_exist_ok=True)
    config = json.loads((place / "config.json").read_text())
    last = config["num_hidden_layers"] - 1
    (place / "config.json").write_text(json.dumps({**config, "num_hidden_layers": last}, indent=1))
    for file in place.glob("*.safetensors"):
        kept = {name: each for name, each in load_file(file).items() if f".layers.{last}." not in name}
        save_file(kept, file, metadata={"format": "pt"})


def widen_heads(source: Path, place: Path) -> None:
    """Copy Medusa heads over a part of the vocabulary as heads over all of it.

    vLLM 0.32 loads heads of their own only so. A token that they cannot propose gets the row of the last one
    that they can: it ties with it and comes up no more often.
    """
    import torch
    from safetensors.torch import load_file, save_file

    place.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    config["truncated_vocab_size"] = config["vocab_size"]
    (place / "config.json").write_text(json.dumps(config, indent=1))
    tensors = load_file(source / "model.safetensors")
    token_map = tensors.pop("token_map")
    rows = torch.full((config["vocab_size"],), len(token_map) - 1)
    rows[token_map] = torch.arange(len(token_map))
    wide = {name: each[rows] if "lm_heads" in name else each for name, each in tensors.items()}
    save_file(wide, place / "model.safetensors", metadata={"format": "pt"})
