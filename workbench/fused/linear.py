"""Rows times a weight, in the storage that multiplies fastest on the device at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from workbench.fused.quantised import QuantisedLinear, QuantisedProduct

_MOST_PACKED_BYTES: Final = 2**31
"""A model whose weights are larger is not stored a second time."""
_PACKED_DTYPES: Final = (torch.float32, torch.bfloat16)


class Linear:
    """`rows @ weight.T + bias`.

    On a CPU the weight is stored once more, in the blocked layout of the CPU's own library: as given, row by
    row, the products of a small model took about twice as long, for one row as for eight.
    """

    __slots__ = ("_bias", "_packed", "_weight")

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, pack: bool = False) -> None:
        """Hold a weight.

        Args:
            weight: `[out, in]`.
            bias: `[out]`.
            pack: Store it blocked, where this device and dtype allow it.
        """
        packs = pack and weight.device.type == "cpu" and can_pack(weight.dtype)
        self._bias = bias
        self._packed: Tensor | None = _packed(weight) if packs else None
        self._weight: Tensor | None = None if packs else weight

    def __call__(self, rows: Tensor) -> Tensor:
        """Return `[..., out]` of rows `[..., in]`."""
        if self._packed is not None:
            return _product(rows, self._packed, self._bias)
        assert self._weight is not None
        return functional.linear(rows, self._weight, self._bias)


def joined(parts: Sequence[Any], *, pack: bool) -> Linear | QuantisedProduct:
    """Return one product for several over the same rows, their outputs behind each other.

    Args:
        parts: `torch.nn.Linear` modules, all or none of them with a bias; or all of them quantised.
        pack: As `Linear`.
    """
    quantised = [part for part in parts if isinstance(part, QuantisedLinear)]
    if quantised:
        return QuantisedProduct(quantised)
    biases = [part.bias for part in parts]
    bias = None if biases[0] is None else torch.cat(biases)
    return Linear(torch.cat([part.weight for part in parts]), bias, pack=pack)


def fits_twice(weights: Iterable[Tensor]) -> bool:
    """Return whether a model of these weights is small enough to be stored a second time."""
    return sum(weight.nbytes for weight in weights) <= _MOST_PACKED_BYTES


@lru_cache(maxsize=8)
def can_pack(dtype: torch.dtype) -> bool:
    """Return whether torch has the blocked product on this machine, and it computes what it should."""
    if dtype not in _PACKED_DTYPES or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    weight = torch.arange(24, dtype=dtype).view(4, 6) % 5  # small integers: exact in any dtype
    rows = torch.arange(18, dtype=dtype).view(3, 6) % 7
    try:
        product = _product(rows, _packed(weight), None)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False  # private to torch: a release without it is served by the plain product
    return torch.equal(product, rows @ weight.t())


def _packed(weight: Tensor) -> Tensor:
    with torch.inference_mode(mode=False), torch.no_grad():
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())  # noqa: SLF001
        return packed


def _product(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """Call what torch's own compiler calls for frozen weights."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")  # noqa: SLF001
    return product
