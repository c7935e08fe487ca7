"""Tensors that the calls of several operators are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Call = tuple[str, Callable[[], dict[str, Any]]]
"""Qualified operator name, and what makes its arguments by name."""


def half(*shape: int) -> torch.Tensor:
    """Return reproducible bfloat16 numbers of about unit size."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).bfloat16()


def ints(*values: int) -> torch.Tensor:
    """Return int32 numbers."""
    return torch.tensor(values, dtype=torch.int32)


def causal(rows: int = 4, columns: int = 8) -> torch.Tensor:
    """Bool, True is left out, diagonal at the bottom right."""
    return torch.ones(rows, columns, dtype=torch.bool).triu(columns - rows + 1)


def one_hot_hidden() -> torch.Tensor:
    """A causal mask whose third row hides everything."""
    mask = causal()
    mask[2] = True
    return mask


def aliased(make: Callable[..., dict[str, Any]], first: str, second: str) -> Callable[[], dict[str, Any]]:
    """Return a call in which two arguments are one tensor."""

    def build() -> dict[str, Any]:
        call = make()
        return call | {second: call[first]}

    return build
