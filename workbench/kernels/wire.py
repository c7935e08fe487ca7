"""What a candidate returned, as a file: a line of JSON and raw bytes; nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from tracing.errors import UsageError

MAX_BYTES: Final = 1 << 30
"""Largest file that is written or read."""
_NAMES: Final = (
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
)
DTYPES: Final[Mapping[str, torch.dtype]] = {name: getattr(torch, name) for name in _NAMES}


@dataclass(frozen=True, slots=True)
class Called:
    """What a candidate did with one call.

    Attributes:
        outputs: Tensors on the host; text, the name of a class, where it returned something else.
        after: Arguments that are written in place, as they were after the call.
        changed: Other arguments whose bits it changed.
        aliases: Pairs that share memory, in words.
        repeats: Whether a second call gave the same bits.
    """

    outputs: tuple[Any, ...]
    after: Mapping[str, Tensor] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    repeats: bool = True


def write(file: Path, called: Called) -> None:
    """Write a result; an output that is too large is written as text."""
    blobs: list[bytes] = []
    forms = [_form(one, blobs) for one in called.outputs]
    after = {name: _form(one, blobs) for name, one in called.after.items()}
    head = {
        "outputs": forms,
        "after": after,
        "changed": list(called.changed),
        "aliases": list(called.aliases),
        "repeats": called.repeats,
    }
    with file.open("wb") as stream:
        stream.write(json.dumps(head).encode() + b"\n")
        stream.writelines(blobs)


def read(file: Path) -> Called:
    """Read what `write` wrote.

    Raises:
        UsageError: Something else is written there.
    """
    try:
        if file.stat().st_size > MAX_BYTES + (1 << 20):
            raise ValueError(f"{file.stat().st_size:,} bytes")
        head, _, rest = file.read_bytes().partition(b"\n")
        data = json.loads(head)
        cursor = _Cursor(rest)
        outputs = tuple(cursor.take(one) for one in data["outputs"])
        after = {str(name): cursor.take(one) for name, one in data["after"].items()}
        changed, aliases = (tuple(map(str, data[name])) for name in ("changed", "aliases"))
        return Called(outputs, after, changed, aliases, bool(data["repeats"]))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, RecursionError) as error:
        raise UsageError(
            f"{file}: expected the result of a call, as kernels run --keep writes it: {error}"
        ) from error


def _form(value: Any, blobs: list[bytes]) -> Any:
    name = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if not isinstance(value, Tensor) or name not in DTYPES:
        return {"type": f"a tensor of {name}" if isinstance(value, Tensor) else type(value).__name__}
    if value.numel() * value.element_size() + sum(map(len, blobs)) > MAX_BYTES:
        return {"type": f"a tensor of shape {list(value.shape)}, too large to keep"}
    blobs.append(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return {"dtype": name, "shape": list(value.shape)}


class _Cursor:
    """Takes tensors out of bytes, one behind the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, form: Mapping[str, Any]) -> Any:
        if "type" in form:
            return str(form["type"])
        dtype, shape = DTYPES[form["dtype"]], [int(size) for size in form["shape"]]
        count = _count(shape)
        end = self._at + count * dtype.itemsize
        if end > len(self._data):
            raise ValueError("the file ends before its tensors do")
        part = bytearray(self._data[self._at : end])
        self._at = end
        return torch.frombuffer(part, dtype=dtype).view(shape) if count else torch.empty(shape, dtype=dtype)


def _count(shape: Sequence[int]) -> int:
    if any(size < 0 for size in shape) or len(shape) > 16:
        raise ValueError(f"a shape of {list(shape)}")
    return torch.Size(shape).numel()
