"""Read a model directory: JSON files and weight shards, with one clear sentence when something is wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tracing.errors import CheckpointError, ModelMissingError
from tracing.files import read_regular

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
PICKLED: Final = "pytorch_model.bin"
PICKLED_INDEX: Final = "pytorch_model.bin.index.json"


def require_directory(directory: Path, role: str) -> None:
    """Refuse a path that is not a model directory, naming its role.

    Raises:
        ModelMissingError: Nothing there, or not a directory.
    """
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise ModelMissingError(
            f"{role} directory {directory} {what}; give a local directory with config.json and weights"
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelMissingError: No such file.
        CheckpointError: Not a JSON object.
    """
    try:
        text = read_regular(path).decode("utf-8")
    except FileNotFoundError:
        raise ModelMissingError(f"{path.name} is missing in {path.parent}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} cannot be read as text: {error}") from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} should hold a JSON object, got {type(data).__name__}")
    return data


def optional_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or return an empty one when the file is not there."""
    return read_json(path) if path.is_file() else {}


def weight_files(directory: Path) -> list[Path]:
    """Return the weight shards of a model directory, safetensors before pickled ones.

    Raises:
        ModelMissingError: No weights, or an index that names a shard which is not there.
    """
    for single, index in ((SINGLE, INDEX), (PICKLED, PICKLED_INDEX)):
        if (directory / single).is_file():
            return [directory / single]
        if (directory / index).is_file():
            return _shards(directory / index)
    raise ModelMissingError(f"no weights in {directory}; expected {SINGLE}, {INDEX} or {PICKLED}")


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map")
    shards = [index.parent / name for name in sorted({str(name) for name in weight_map.values()})]
    for shard in shards:
        if shard.parent.resolve() != index.parent.resolve():
            raise CheckpointError(f"{index} names {shard}, which lies outside the model directory")
        if not shard.is_file():
            raise ModelMissingError(f"{shard.name} is missing in {index.parent}; {index.name} names it")
    return shards


def read_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a model directory; nothing is ever unpickled beyond plain tensors.

    Raises:
        ModelMissingError: A file is missing.
        CheckpointError: A file is broken, or one name occurs in two shards.
    """
    weights: dict[str, torch.Tensor] = {}
    for path in weight_files(directory):
        for name, tensor in _read_shard(path).items():
            if name in weights:
                raise CheckpointError(f"{name} occurs in more than one shard of {directory}")
            weights[name] = tensor
    return weights


def _read_shard(path: Path) -> Mapping[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from None
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read with weights_only=True: {first_line}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} should hold a dict of tensors, got {type(data).__name__}")
    for name, tensor in data.items():
        if not isinstance(tensor, torch.Tensor):
            raise CheckpointError(f"{path}: {name} should be a tensor, got {type(tensor).__name__}")
    return data
