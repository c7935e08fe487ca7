"""How sums and roundings are carried out; every matrix product goes through `linear` or `attention`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from reference.stored import CacheRounding

Weights = Mapping[str, Tensor]
LARGE: Final = 2**16
"""Numbers of a weight from which on its float32 product is oneDNN's."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The order in which sums run, and where results are rounded.

    The same computation in another order, or rounded elsewhere, gives another rounding error; the judge
    measures with it how far an honest implementation may be off.

    Attributes:
        seed: Seeds a permutation of every summed axis, or what is drawn; None sums in natural order.
        rounds_once: Every operator runs in float32 and rounds its result once, as fused kernels do; False
            rounds after each operation, as transformers' eager modules do.
        dithers: With `rounds_once`: round to a neighbour drawn by nearness instead of to the nearest
            (stochastic rounding). In a half precision the order of sums hardly ever changes a rounded result;
            this does, and so it shows how far rounding alone can carry a row.
        cache: How the cache rounds keys and values; None where it keeps them as computed.
    """

    seed: int | None = None
    rounds_once: bool = False
    dithers: bool = False
    cache: CacheRounding | None = None

    def stored(self, rows: Tensor) -> Tensor:
        """Return keys or values `[H_kv, S, D]` as attention reads them from the cache."""
        return rows if self.cache is None else self.cache.stored(rows)

    def working(self, x: Tensor) -> Tensor:
        """Return `x` as an operator computes with it: widened where only its result is rounded."""
        return x.to(at_least_float32(x.dtype)) if self.rounds_once else x

    def settled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Round an operator's result to `dtype`."""
        if x.dtype == dtype or not self.dithers:
            return x.to(dtype)
        generator = torch.Generator().manual_seed((self.seed or 0) * 1_000_003 + x.numel())
        uniform = torch.rand(x.shape, generator=generator).to(x.device) - 0.5
        return (x + uniform * spacing(x, dtype)).to(dtype)

    def order(self, size: int, device: torch.device) -> Tensor | None:
        """Return the order in which an axis is summed, int64 `[size]`; None is the natural order.

        Where results are rounded at random another order would change almost nothing more.
        """
        if self.seed is None or self.dithers:
            return None
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + size)
        return torch.randperm(size, generator=generator).to(device)


def linear(x: Tensor, weights: Weights, name: str, arithmetic: Arithmetic) -> Tensor:
    """Return `x @ weight.T + bias` for the layer `name`; the bias only where there is one.

    Args:
        x: `[..., in]`.
        weights: Holds `name.weight` `[out, in]` and, if the layer has one, `name.bias` `[out]`.
        name: Canonical name of the layer, e.g. `model.layers.0.self_attn.q_proj`.
        arithmetic: Order in which the `in` axis is summed.
    """
    dtype = x.dtype
    x, weight = arithmetic.working(x), arithmetic.working(weights[f"{name}.weight"])
    order = arithmetic.order(weight.shape[1], weight.device)
    if order is not None:
        x, weight = x[..., order], weight[:, order]
    product = _product(x, weight)
    bias = weights.get(f"{name}.bias")
    return arithmetic.settled(product if bias is None else product + bias, dtype)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x @ weight.T`.

    In float32 torch's own way is MKL, which leaves half of the registers of a processor that is not Intel's
    unused. In half precisions it is oneDNN anyway, and in float64 there is no other.
    """
    if x.dtype is torch.float32 and x.device.type == "cpu" and weight.numel() >= LARGE and _has_onednn():
        return _by_onednn(x, weight)
    return x @ weight.T


def _by_onednn(x: Tensor, weight: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # noqa: SLF001  # what torch's own compiler calls
    return product


@lru_cache(maxsize=1)
def _has_onednn() -> bool:
    """Return whether this build of torch has oneDNN's product, and it computes what it should."""
    weight = torch.arange(24.0).view(4, 6) % 5  # small integers: exact
    x = torch.arange(18.0).view(3, 6) % 7
    try:
        return torch.equal(_by_onednn(x, weight), x @ weight.T)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


def rms_norm(x: Tensor, weight: Tensor, eps: float, arithmetic: Arithmetic) -> Tensor:
    """Return `x / sqrt(mean(x^2) + eps) * weight` over the last axis, in the dtype of `x`.

    The mean is float32 or better; its result is cast, then weighted, as in transformers, or rounded once.
    """
    wide = x.to(at_least_float32(x.dtype))
    squares = wide * wide
    order = arithmetic.order(x.shape[-1], x.device)
    if order is not None:
        squares = squares[..., order]
    normed = wide * torch.rsqrt(squares.mean(-1, keepdim=True) + eps)
    if arithmetic.rounds_once:
        return arithmetic.settled(weight * normed, x.dtype)
    return weight * normed.to(x.dtype)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of norms, rotations and softmax: float32, or `dtype` itself where it is wider."""
    return torch.promote_types(dtype, torch.float32)


def spacing(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the distance between neighbours of `dtype` at each value of `x`; 0 at 0, which is exact."""
    _, exponent = torch.frexp(x)  # x = mantissa * 2**exponent, mantissa in [0.5, 1)
    return torch.where(x == 0, 0.0, torch.ldexp(torch.full_like(x, torch.finfo(dtype).eps), exponent - 1))
