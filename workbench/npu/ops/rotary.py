"""Twin of `npu_rotary_mul`."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.npu.contracts.rotary import check_rotary_mul


def npu_rotary_mul(
    input: Tensor,  # noqa: A002  # schema name
    r1: Tensor,
    r2: Tensor,
    rotary_mode: str = "half",
    rotate: Tensor | None = None,
) -> Tensor:
    """Return input * r1 + rotate(input) * r2, computed in float32 and rounded once.

    Args:
        input: [..., D] in BNSD, BSND, SBND or TND.
        r1: Cosines, broadcast over heads; cast to the input's dtype first, as the kernel does.
        r2: Sines.
        rotary_mode: `half` turns (a, b) halves into (-b, a); `interleave` turns even and odd places.
        rotate: A rotation matrix; not covered.

    Raises:
        ContractError: when the call breaks a rule.
        NotModelledError: when `rotate` is given.
    """
    check_rotary_mul(input, r1, r2, rotary_mode, rotate)
    exact = input.float()
    turned = turn_halves(exact) if rotary_mode == "half" else turn_pairs(exact)
    cosines, sines = r1.to(input.dtype).float(), r2.to(input.dtype).float()
    return (exact * cosines + turned * sines).to(input.dtype)


def turn_halves(exact: Tensor) -> Tensor:
    """Return (-second half, first half) of the last axis."""
    first, second = exact.chunk(2, -1)
    return torch.cat((-second, first), -1)


def turn_pairs(exact: Tensor) -> Tensor:
    """Return (-odd, even) of every pair along the last axis."""
    return torch.stack((-exact[..., 1::2], exact[..., 0::2]), -1).flatten(-2)
