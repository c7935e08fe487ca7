"""The models of the folder, in the dtype of the path or in float64."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from workbench.reduce.plain.comparing import Config, Weights, read_tensors

HERE = Path(__file__).resolve().parent


def load_model(network: str, own: torch.dtype, wide: torch.dtype) -> tuple[Config, Weights]:
    """Return configuration and weights of a network: rounded as the path holds them, then widened."""
    told = json.loads((HERE / "models" / "config.json").read_text())
    config = told[network] or {}
    file = HERE / "models" / f"{network}.safetensors"
    tensors = read_tensors(file) if file.exists() else {}
    weights = {
        name: each.to(own).to(wide) if each.is_floating_point() else each for name, each in tensors.items()
    }
    drafter = told["drafter"] or {}
    config["tapped_layers"] = drafter.get("aux_layers", []) if network == "teacher" else []
    config["taps_final_hidden"] = network == "teacher" and drafter.get("kind") == "MedusaConfig"
    return config, weights
