"""What the layers of a path are made of: products, and pointwise operators, each fused or eager."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from workbench.fused.linear import Products
from workbench.npu import dispatch


@dataclass(frozen=True, slots=True)
class Operators:
    """What the layers of one path are made of.

    Attributes:
        eager: Which of `norm`, `rotary`, `swiglu` run as plain torch.
        products: Makes the products.
    """

    eager: frozenset[str] = frozenset()
    products: Products = field(default_factory=Products)

    def rms_norm(self, hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Return `hidden` over its root mean square times `weight`, along the last axis."""
        if "norm" in self.eager:
            return eager_rms_norm(hidden, weight, epsilon)
        return dispatch.npu_rms_norm(hidden, weight, epsilon)[0]

    def rotary(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return `states` `[1, S, H, D]` rotated by tables `[1, S, 1, D]` (the exact BSND broadcast form)."""
        if "rotary" in self.eager:
            return eager_rotary(states, cos, sin)
        return dispatch.npu_rotary_mul(states.contiguous(), cos, sin)

    def swiglu(self, gate_and_up: Tensor) -> Tensor:
        """Return `silu(gate) * up` of `[..., 2 * I]`, gate first."""
        if "swiglu" in self.eager:
            gate, up = gate_and_up.chunk(2, dim=-1)
            return functional.silu(gate) * up
        return dispatch.npu_swiglu(gate_and_up)


def eager_rms_norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm as Llama defines it: float32 statistics, rounded before the weight is applied."""
    if hidden.dtype is torch.float32:  # nothing is rounded in between: one call is the same
        return functional.rms_norm(hidden, weight.shape, weight, epsilon)
    exact = hidden.float()
    scaled = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + epsilon)
    return weight * scaled.to(hidden.dtype)


def eager_rotary(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate halves: `states * cos + (-second half, first half) * sin`."""
    first, second = states.chunk(2, dim=-1)
    return torch.addcmul(states * cos, torch.cat((-second, first), dim=-1), sin)
