"""Reading tensors without a library, and comparing what was found with what is expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
ROUNDINGS = 4
"""How many times its own rounding error a row may be off."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file: eight bytes of length, a header in JSON, then numbers."""
    raw = bytearray(file.read_bytes())
    begin = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, told in json.loads(raw[8:begin]).items():
        if name == "__metadata__":
            continue
        start, stop = told["data_offsets"]
        dtype, shape = TYPES[told["dtype"]], told["shape"]
        if start == stop:
            tensors[name] = torch.zeros(shape, dtype=dtype)
        else:
            numbers = bytearray(raw[begin + start : begin + stop])
            tensors[name] = torch.frombuffer(numbers, dtype=dtype).reshape(shape)
    return tensors


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name[len(prefix) :]: each for name, each in tensors.items() if name.startswith(prefix)}


def rows_first(name: str, tensor: Tensor) -> Tensor:
    """Return keys and values, `[layers, 2, H_kv, R, D]`, with their rows first; other tensors as they are."""
    return tensor.movedim(-2, 0) if name.startswith("kv") else tensor


def compare(name: str, found: Tensor, exact: Tensor, rounded: Tensor) -> bool:
    """Print how far apart two tensors are; return whether it is more than rounding explains.

    Args:
        name: Of the tensor.
        found: What the path under test gave.
        exact: What its inputs give, in float64 where these are floats.
        rounded: The same in the path's own dtype: how far honest rounding carries.
    """
    if found.shape != exact.shape:
        print(f"  {name:<22} DIFFERS  shape {list(found.shape)}, expected {list(exact.shape)}")
        return True
    if found.numel() == 0:
        return False
    if not exact.is_floating_point():
        return _compare_exactly(name, found, exact)
    own, truth, near = (
        rows_first(name, each.double()).flatten(1) if each.ndim > 1 else each.double()[:, None]
        for each in (found, exact, rounded)
    )
    error = (own - truth).abs().nan_to_num(nan=float("inf")).amax(dim=1)
    tick = torch.finfo(found.dtype).eps * truth.abs().amax(dim=1)
    allowed = ROUNDINGS * torch.maximum((near - truth).abs().amax(), tick)
    row = int((error - allowed).argmax())
    differs = bool(error[row] > allowed[row])
    place = int((own[row] - truth[row]).abs().nan_to_num(nan=float("inf")).argmax())
    word = "DIFFERS" if differs else "equal"
    print(
        f"  {name:<22} {word:<8} row {row}: off by {error[row]:.3g}, rounding allows {allowed[row]:.3g}; "
        f"at element {place} found {own[row, place]:.6g}, expected {truth[row, place]:.6g}"
    )
    return differs


def _compare_exactly(name: str, found: Tensor, exact: Tensor) -> bool:
    wrong = (found != exact).reshape(-1).nonzero().flatten().tolist()
    if not wrong:
        print(f"  {name:<22} equal")
        return False
    values = [each.reshape(-1)[wrong[0]].item() for each in (found, exact)]
    print(
        f"  {name:<22} DIFFERS  at {len(wrong)} of {found.numel()} places, first {wrong[0]}: "
        f"found {values[0]}, expected {values[1]}"
    )
    if found.numel() <= 64:
        print(f"    found    {found.tolist()}\n    expected {exact.tolist()}")
    return True


Config = dict[str, Any]
Weights = dict[str, Tensor]
