"""Tensors that the calls of several operators are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

Build = Callable[[], dict[str, Any]]
"""Makes the arguments of a call by name."""
Call = tuple[str, Build]
"""Qualified operator name, and what makes its arguments."""


def calls_of(operator: str, builds: Mapping[str, Build]) -> dict[str, Call]:
    """Return calls of one operator, by form or by the rule that they break."""
    return {name: (operator, build) for name, build in builds.items()}


def half(*shape: int) -> torch.Tensor:
    """Return reproducible bfloat16 numbers of about unit size."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).bfloat16()


def kv(*shape: int) -> dict[str, torch.Tensor]:
    """Return a key and a value of one shape."""
    return {"key": half(*shape), "value": half(*shape)}


def qkv(query: tuple[int, ...], key: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Return a query beside a key and a value of one shape."""
    return {"query": half(*query)} | kv(*key)


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


def aliased(make: Callable[..., dict[str, Any]], first: str, second: str) -> Build:
    """Return a call in which two arguments are one tensor."""

    def build() -> dict[str, Any]:
        call = make()
        return call | {second: call[first]}

    return build
