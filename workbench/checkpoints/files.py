"""Read a model directory: JSON files and weight shards, with one clear sentence when something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from tracing.errors import CheckpointError, ModelMissingError
from tracing.files import open_regular
from workbench.checkpoints.json_text import MAX_BYTES, parse_object, shown
from workbench.checkpoints.packed_file import SUFFIX, mapped, open_packed
from workbench.checkpoints.pickled import guarded, read_pickled
from workbench.checkpoints.safetensors_header import LENGTH_BYTES, StoredTensor, check_header, header_length

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
PICKLED: Final = "pytorch_model.bin"
PICKLED_INDEX: Final = "pytorch_model.bin.index.json"
MEDUSA: Final = ("medusa_lm_head.safetensors", "medusa_lm_head.pt")
"""Names that trainers of Medusa heads give to the one file of weights."""
MAX_INDEX: Final = 64 << 20
_DTYPES: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""What a packed file may hold, by safetensors' names."""
MAX_NAME: Final = 200


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


def read_json(path: Path, *, most_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelMissingError: No such file.
        CheckpointError: Not a regular file, or not a JSON object within the bounds of `json_text`.
    """
    try:
        with open_regular(path) as stream:
            data = stream.read(most_bytes + 1)
    except FileNotFoundError:
        raise ModelMissingError(f"{path.name} is missing in {path.parent}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    return parse_object(data, str(path), most_bytes=most_bytes)


def optional_json(path: Path, *, most_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object, or return an empty one when nothing is there."""
    return read_json(path, most_bytes=most_bytes) if _is_there(path) else {}


def _is_there(path: Path) -> bool:
    """Tell whether a regular file is there.

    Raises:
        CheckpointError: Something else has its name: a pipe, a device, a folder, a link to nothing.
    """
    if not path.exists():
        if path.is_symlink():
            raise CheckpointError(f"{path} is a link to nothing; download the model again")
        return False
    if not path.is_file():
        raise CheckpointError(f"{path} is no regular file")
    return True


def weight_files(directory: Path) -> list[Path]:
    """Return the weight shards of a model directory, safetensors before pickled ones.

    A shard that is there in packed form alone is named so.

    Raises:
        ModelMissingError: No weights, or an index that names a shard which is not there.
        CheckpointError: The index names anything but files beside it.
    """
    for single, index in ((SINGLE, INDEX), (PICKLED, PICKLED_INDEX)):
        for path in (directory / single, _packed(directory / single)):
            if _is_there(path):
                return [path]
        if _is_there(directory / index):
            return sorted(_shards(directory / index))
    for name in MEDUSA:
        if _is_there(directory / name):
            return [directory / name]
    raise ModelMissingError(f"no weights in {directory}; expected {SINGLE}, {INDEX} or {PICKLED}")


def _shards(index: Path) -> dict[Path, set[str]]:
    """Return the shards that an index names, each with the tensors that it should hold."""
    weight_map = read_json(index, most_bytes=MAX_INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map")
    shards: dict[Path, set[str]] = {}
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(
                f"{index} names {shown(name)} for {shown(tensor)}, which lies outside the model directory "
                "or is no file name"
            )
        shards.setdefault(index.parent / name, set()).add(tensor)
    kind = Path(index.name.removesuffix(".index.json")).suffix
    found: dict[Path, set[str]] = {}
    for shard, tensors in shards.items():
        if shard.suffix != kind:
            raise CheckpointError(f"{index} names {shown(shard.name)}; expected {kind} files")
        there = next((path for path in (shard, _packed(shard)) if _is_there(path)), None)
        if there is None:
            raise ModelMissingError(f"{shard.name} is missing in {index.parent}; {index.name} names it")
        found[there] = tensors
    return found


def _packed(path: Path) -> Path:
    """Return where the packed form of a shard would be."""
    return path.with_name(path.name + SUFFIX)


def read_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a model directory; nothing is ever unpickled beyond plain tensors.

    Raises:
        ModelMissingError: A file is missing.
        CheckpointError: A file is broken, one name occurs in two shards, or not in the shard of the index.
    """
    weights: dict[str, torch.Tensor] = {}
    files = weight_files(directory)
    first = files[0].name.removesuffix(SUFFIX)
    index = directory / (INDEX if first.endswith(".safetensors") else PICKLED_INDEX)
    promised = {} if first in {SINGLE, PICKLED, *MEDUSA} else _shards(index)
    for path in files:
        shard = _read_shard(path)
        absent = sorted(promised.get(path, set()) - shard.keys())
        if absent:
            raise CheckpointError(
                f"{path} does not hold {shown(absent[0])}, which {index.name} says it holds"
            )
        odd = next((name for name in shard if not name.isprintable() or len(name) > MAX_NAME), None)
        if odd is not None:
            raise CheckpointError(f"{path} names a tensor {shown(odd)}; names are printable and short")
        doubled = sorted(weights.keys() & shard.keys())
        if doubled:
            raise CheckpointError(f"{shown(doubled[0])} occurs in more than one shard of {directory}")
        weights |= shard
    return weights


def _read_shard(path: Path) -> Mapping[str, torch.Tensor]:
    if path.suffix == SUFFIX:
        return _read_packed(path)
    try:
        with open_regular(path) as stream:
            if path.suffix != ".safetensors":
                return read_pickled(path)
            size = path.stat().st_size
            length = header_length(stream.read(LENGTH_BYTES), size, str(path))
            check_header(stream.read(length), size, str(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    return guarded(f"{path} is not a readable safetensors file", lambda: load_file(path))


def _read_packed(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a packed file, with the bits of the original."""
    with mapped(path) as data:
        packed = open_packed(data, str(path))
        weights = {}
        for place, tensor in enumerate(packed.tensors):
            weights[tensor.name] = torch.empty(tensor.shape, dtype=_dtype(tensor))
            target = weights[tensor.name].view(-1).view(torch.uint8).numpy()
            target[:] = packed.bytes_of(place)
        return weights


def _dtype(tensor: StoredTensor) -> torch.dtype:
    """Return torch's dtype.

    Raises:
        CheckpointError: One that is not held in whole bytes, or unknown to torch.
    """
    if tensor.dtype not in _DTYPES:
        raise CheckpointError(f"{shown(tensor.name)} has dtype {tensor.dtype}; expected {', '.join(_DTYPES)}")
    return _DTYPES[tensor.dtype]
