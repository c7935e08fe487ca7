"""How sums are carried out: every matrix product of this package goes through `linear` or `attention`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The order in which sums run.

    The same computation in another order gives another rounding error; the judge measures with it how far
    an honest implementation may be off.

    Attributes:
        seed: Seeds a permutation of every summed axis; None sums in natural order.
    """

    seed: int | None = None

    def order(self, size: int, device: torch.device) -> Tensor | None:
        """Return the order in which an axis is summed, int64 `[size]`; None is the natural order."""
        if self.seed is None:
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
    weight = weights[f"{name}.weight"]
    order = arithmetic.order(weight.shape[1], weight.device)
    if order is not None:
        x, weight = x[..., order], weight[:, order]
    product = x @ weight.T
    bias = weights.get(f"{name}.bias")
    return product if bias is None else product + bias


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of norms, rotations and softmax: float32, or `dtype` itself where it is wider."""
    return torch.promote_types(dtype, torch.float32)
