"""Rows times a weight, in the storage that multiplies fastest on the device at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from workbench.fused.packed import Product, blocked, half
from workbench.fused.quantised import QuantisedLinear, QuantisedProduct

_MOST_BLOCKED_BYTES: Final = 2**31
"""Weights of a path beyond it are not stored a second time at full size."""


class Linear:
    """`rows @ weight.T + bias`.

    Attributes:
        storage: How the weight is held: `half`, `blocked`, or `plain`, as it was given.
        shape: Of the weight, `(out, in)`.
        nbytes: What it takes in this storage.
    """

    __slots__ = ("_product", "nbytes", "shape", "storage")

    def __init__(self, product: Product, storage: str, weight: Tensor) -> None:
        self._product = product
        self.storage = storage
        self.shape = tuple(weight.shape)
        self.nbytes = weight.nbytes // 2 if storage == "half" else weight.nbytes

    def __call__(self, rows: Tensor) -> Tensor:
        """Return `[..., out]` of rows `[..., in]`."""
        return self._product(rows)


@dataclass(slots=True)
class Products:
    """Makes the products of a path.

    Attributes:
        plain: Hold every weight as it is given.
        made: All of them, in order.
    """

    plain: bool = False
    made: list[Linear | QuantisedProduct] = field(default_factory=list)
    _blocked_bytes: int = 0

    def of(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        """Return the product with a weight `[out, in]` and a bias `[out]`."""
        made = None if self.plain else self._half(weight, bias) or self._blocked(weight, bias)
        made = made or Linear(lambda rows: functional.linear(rows, weight, bias), "plain", weight)
        self.made.append(made)
        return made

    def joined(self, parts: Sequence[Any]) -> Linear | QuantisedProduct:
        """Return one product for several over the same rows, their outputs behind each other.

        Args:
            parts: `torch.nn.Linear` modules, all or none of them with a bias; or all of them quantised.
        """
        quantised = [part for part in parts if isinstance(part, QuantisedLinear)]
        if quantised:
            self.made.append(QuantisedProduct(quantised))
            return self.made[-1]
        biases = [part.bias for part in parts if part.bias is not None]
        return self.of(_cat([part.weight for part in parts]), _cat(biases) if biases else None)

    def stored(self) -> Counter[str]:
        """Return how many products hold their weight in which way, for the run's facts."""
        return Counter(each.storage for each in self.made)

    @staticmethod
    def _half(weight: Tensor, bias: Tensor | None) -> Linear | None:
        product = half(weight, bias)
        return None if product is None else Linear(product, "half", weight)

    def _blocked(self, weight: Tensor, bias: Tensor | None) -> Linear | None:
        if self._blocked_bytes + weight.nbytes > _MOST_BLOCKED_BYTES:
            return None
        product = blocked(weight, bias)
        if product is None:
            return None
        self._blocked_bytes += weight.nbytes
        return Linear(product, "blocked", weight)


def _cat(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors behind each other; one alone is itself, not a copy."""
    return parts[0] if len(parts) == 1 else torch.cat([*parts])
