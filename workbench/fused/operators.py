"""What the layers of a path are made of: products, and pointwise operators, each fused or eager."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from workbench.fused.linear import Products
from workbench.fused.rotary import Tables
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

    def rotary_tables(self, tables: Tables) -> Tables:
        """Return cosines and sines as `rotary` takes them, once a forward."""
        return signed_tables(*tables) if "rotary" in self.eager else tables

    def rotary(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return `states` `[1, S, H, D]` rotated by `rotary_tables` (the exact BSND broadcast form)."""
        if "rotary" in self.eager:
            return eager_rotary(states, cos, sin)
        return dispatch.npu_rotary_mul(states.contiguous(), cos, sin)

    def swiglu(self, gate_and_up: Tensor) -> Tensor:
        """Return `silu(gate) * up` of `[..., 2 * I]`, gate first."""
        if "swiglu" in self.eager:
            gate, up = gate_and_up.tensor_split(2, dim=-1)
            return functional.silu(gate).mul_(up)
        return dispatch.npu_swiglu(gate_and_up)


def eager_rms_norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm as Llama defines it: float32 statistics, rounded before the weight is applied."""
    if hidden.dtype is torch.float32:  # nothing is rounded in between
        return (hidden * _inverse_deviation(hidden, epsilon)).mul_(weight)
    exact = hidden.float()
    return weight * (exact * _inverse_deviation(exact, epsilon)).to(hidden.dtype)


def _inverse_deviation(hidden: Tensor, epsilon: float) -> Tensor:
    size = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
    return torch.addcmul(_number(epsilon, hidden.device), size, size, value=1 / hidden.shape[-1]).rsqrt_()


@lru_cache(maxsize=16)
def _number(value: float, device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):
        return torch.tensor(value, device=device)


def signed_tables(cos: Tensor, sin: Tensor) -> Tables:
    """Return the tables with the sign of the first half's sines changed, for `eager_rotary`."""
    first, second = sin.tensor_split(2, dim=-1)
    return cos, torch.cat((-first, second), dim=-1)


def eager_rotary(states: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotate halves: `states * cos + (-second half, first half) * sin`."""
    return torch.addcmul(states * cos, states.roll(cos.shape[-1] // 2, -1), signed_sin)
