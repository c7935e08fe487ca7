"""Pickled weights: plain tensors only, never more of them than the file has bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from tracing.errors import CheckpointError, SpecwbError
from workbench.checkpoints.json_text import shown

T = TypeVar("T")


def guarded(what: str, read: Callable[[], T]) -> T:
    """Return what `read` returns; whatever a library makes of a stranger's file is one sentence.

    Args:
        what: Start of the sentence: what should have been read.
        read: Calls the library.

    Raises:
        CheckpointError: The library raised anything at all, a panic of compiled code included.
    """
    try:
        return read()
    except (KeyboardInterrupt, SystemExit, SpecwbError):
        raise
    except MemoryError:
        raise CheckpointError(f"{what}: it asks for more memory than there is") from None
    except BaseException as error:  # noqa: BLE001  # panics of Rust code are no `Exception`
        reason = (_text(error).strip() or type(error).__name__).splitlines()[0]
        reason = reason if reason.isprintable() and len(reason) <= 300 else shown(reason, 300)
        raise CheckpointError(f"{what}: {reason}") from None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an error of foreign code may not even have a text
        return ""


def read_pickled(path: Path) -> Mapping[str, torch.Tensor]:
    """Read a pickled dict of tensors; nothing but tensors is ever built.

    Raises:
        CheckpointError: Anything else, or tensors larger than the file.
    """
    size = path.stat().st_size
    _refuse_bomb(path, size)
    data = guarded(
        f"{path} cannot be read with weights_only=True",
        lambda: torch.load(path, map_location="cpu", weights_only=True),
    )
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} should hold a dict of tensors, got {type(data).__name__}")
    return {_name(path, name): _plain(path, name, tensor, size) for name, tensor in data.items()}


def _refuse_bomb(path: Path, size: int) -> None:
    """Refuse an archive whose members are larger, unpacked, than itself."""
    if not zipfile.is_zipfile(path):
        return
    what = f"{path} is not a readable archive of weights"
    with guarded(what, lambda: zipfile.ZipFile(path)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > size:
        raise CheckpointError(f"{what}: its {size:,} bytes claim to hold {unpacked:,}")


def _name(path: Path, name: object) -> str:
    if not isinstance(name, str):
        raise CheckpointError(f"{path}: names of tensors should be text, got {shown(name)}")
    return name


def _plain(path: Path, name: object, tensor: object, size: int) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor):
        raise CheckpointError(f"{path}: {shown(name)} should be a tensor, got {type(tensor).__name__}")
    kind = "quantised" if tensor.is_quantized else "on no CPU" if tensor.device.type != "cpu" else ""
    kind = kind or ("" if tensor.layout is torch.strided else "sparse")
    if kind:
        raise CheckpointError(f"{path}: {shown(name)} should be a plain tensor, it is {kind}")
    if tensor.numel() * tensor.element_size() > size:
        raise CheckpointError(
            f"{path}: {shown(name)} has {tensor.numel():,} elements, more than the file can hold"
        )
    return tensor.detach()
