"""Match tensors found in files with the tensors that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from tracing.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Matched:
    """The outcome of matching.

    Attributes:
        weights: Tensors under canonical names, exactly those that the configuration asks for.
        unexpected: Names in the file that nothing asked for, sorted.
        ignored: Names that are known and left out on purpose, sorted.
    """

    weights: Mapping[str, torch.Tensor]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]


def match(
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, torch.Tensor],
    *,
    ignore: Callable[[str], bool],
) -> Matched:
    """Match by name, then check shape and kind of number.

    Args:
        wanted: Canonical name to shape.
        found: Canonical (or unknown) name to tensor.
        ignore: True for names that are known and left out on purpose.

    Raises:
        CheckpointError: Names the first tensor that is missing, misshapen or not floating point.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(f"{missing[0]} is missing{more}; config.json asks for it")
    for name, shape in wanted.items():
        check_tensor(name, found[name], shape)
    others = sorted(name for name in found if name not in wanted)
    return Matched(
        weights={name: found[name] for name in wanted},
        unexpected=tuple(name for name in others if not ignore(name)),
        ignored=tuple(name for name in others if ignore(name)),
    )


def check_tensor(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Check shape and kind of number of one tensor.

    Raises:
        CheckpointError: Names the tensor, what came and what the configuration asks for.
    """
    if tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"{name} has shape {list(tensor.shape)}, but config.json asks for {list(shape)}"
        )
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise CheckpointError(f"{name} has dtype {tensor.dtype}; expected float16, bfloat16 or float32")
