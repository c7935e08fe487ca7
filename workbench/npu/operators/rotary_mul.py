"""`npu_rotary_mul`, whose layout is inferred from the shapes alone."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import FLOATS, ContractRule, in_range, need, refuse
from workbench.npu.definition import operator

_rule: Final = partial(ContractRule, operator="npu_rotary_mul", source="op-plugin page of npu_rotary_mul")
UNIT: Final = 32
"""Bytes that the vector unit moves at once."""
SLACK: Final = 1.0 + 2.0**-7
"""A cosine of 1 may have grown by a bf16 ulp on its way here."""
ABOVE: Final = math.nextafter(SLACK, math.inf)

DTYPE = _rule("NPU-ROTARY-DTYPE", "input", "float16, bfloat16 or float32")
TABLE_DTYPE = _rule("NPU-ROTARY-TABLE-DTYPE", "r1", "float16, bfloat16 or float32")
MODE = _rule("NPU-ROTARY-MODE", "rotary_mode", "half or interleave")
RANK = _rule("NPU-ROTARY-RANK", "input", "3 axes (TND) or 4 (BNSD, BSND, SBND)")
TABLES = _rule("NPU-ROTARY-TABLES", "r2", "the shape and dtype of r1")
BROADCAST = _rule(
    "NPU-ROTARY-BROADCAST",
    "r1",
    "11SD, B1SD or BNSD beside BNSD; 1S1D, BS1D or BSND beside BSND; S11D, SB1D or SBND beside SBND; "
    "T1D or TND beside TND",
)
INTERLEAVE = _rule(
    "NPU-ROTARY-INTERLEAVE", "r1", "the fully broadcast form (11SD, 1S1D, S11D, T1D) in interleave mode"
)
EVEN = _rule("NPU-ROTARY-EVEN", "input", "an even head dim below 896")
LIMITS = _rule("NPU-ROTARY-LIMITS", "input", "B and N below 1000 (interleave: B * N below 1000)")
SHORT = _rule(
    "NPU-ROTARY-SHORT",
    "input",
    "B * N <= 8 * S in BNSD when half a head is a multiple of 32 bytes (use BSND or TND for a short tree)",
    source="host check of the rotary position embedding kernel, ops-transformer",
)
UNIT_RANGE = _rule(
    "NPU-ROTARY-RANGE",
    "r1",
    "cosines and sines in [-1, 1]",
    device="the values are used as they are",
    runs=True,
)


def check(input: Tensor, r1: Tensor, r2: Tensor, rotary_mode: str) -> None:  # noqa: A002  # schema name
    """Check one call."""
    need(input.dtype in FLOATS, DTYPE, input.dtype)
    need(r1.dtype in FLOATS, TABLE_DTYPE, r1.dtype)
    need(rotary_mode in {"half", "interleave"}, MODE, rotary_mode)
    need(input.dim() in {3, 4}, RANK, input)
    need(r1.shape == r2.shape and r1.dtype is r2.dtype, TABLES, r2)
    forms = layouts(input.shape, r1.shape)
    need(bool(forms), BROADCAST, f"{list(r1.shape)} with {list(input.shape)}")
    need(input.shape[-1] % 2 == 0 and input.shape[-1] < 896, EVEN, input)
    if rotary_mode == "interleave":
        need(any(is_full_broadcast(form, r1.shape) for form in forms), INTERLEAVE, r1)
    check_sizes(input, forms, rotary_mode)
    need(all(in_range(table, -SLACK, ABOVE) for table in (r1, r2)), UNIT_RANGE, "a value outside")


def layouts(shape: torch.Size, table: torch.Size) -> tuple[str, ...]:
    """Return the layouts that the shapes of input and table allow, e.g. `("BNSD",)`.

    The sequence axis is the one on which the table always has the full size; a table of the input's own shape
    fits every layout.
    """
    if len(table) != len(shape) or table[-1] != shape[-1]:
        return ()
    if len(shape) == 3:
        return ("TND",) if table[0] == shape[0] and table[1] in {1, shape[1]} else ()
    names = {"BNSD": (0, 1, 2), "BSND": (0, 2, 1), "SBND": (1, 2, 0)}
    return tuple(name for name, (b, n, s) in names.items() if fits(shape, table, b, n, s))


def fits(shape: torch.Size, table: torch.Size, batch: int, heads: int, sequence: int) -> bool:
    """Whether a table is full on the sequence, and 1 or full on batch and heads (full heads: full batch)."""
    return (
        table[sequence] == shape[sequence]
        and table[batch] in {1, shape[batch]}
        and table[heads] in {1, shape[heads]}
        and (table[heads] == 1 or table[batch] == shape[batch])
    )


def is_full_broadcast(form: str, table: torch.Size) -> bool:
    """Whether the table is 1 on every axis but sequence and head dim."""
    return all(size == 1 for axis, size in zip(form, table, strict=True) if axis in "BN")


def check_sizes(tensor: Tensor, forms: tuple[str, ...], mode: str) -> None:
    """Check the size limits under the most lenient layout that the shapes allow."""
    sizes = [dict(zip(form, tensor.shape, strict=True)) for form in forms]
    if mode == "interleave":
        held = any(size.get("B", 1) * size["N"] < 1000 for size in sizes)
    else:
        held = any(size.get("B", 1) < 1000 and size["N"] < 1000 for size in sizes)
    need(held, LIMITS, tensor)
    aligned = tensor.shape[-1] // 2 * tensor.element_size() % UNIT == 0
    if forms == ("BNSD",) and aligned and mode == "half":
        size = sizes[0]
        if size["B"] * size["N"] > 8 * size["S"]:
            refuse(SHORT, f"B * N = {size['B'] * size['N']} with S = {size['S']}")


@operator("npu::npu_rotary_mul", check=check, covers="rotation without a matrix of its own")
def npu_rotary_mul(input: Tensor, r1: Tensor, r2: Tensor, rotary_mode: str) -> Tensor:  # noqa: A002
    """Return input * r1 + rotate(input) * r2, computed in float32 and rounded once.

    Args:
        input: [..., D] in BNSD, BSND, SBND or TND.
        r1: Cosines, broadcast over heads; cast to the input's dtype first, as the kernel does.
        r2: Sines.
        rotary_mode: `half` turns (a, b) halves into (-b, a); `interleave` turns even and odd places.
    """
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
