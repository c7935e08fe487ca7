"""Contract of `npu_rotary_mul`, whose layout is inferred from the shapes alone."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, NotModelledError, Rule, catalogue, need, refuse
from workbench.npu.contracts.tensors import FLOATS, has_values

ROTARY: Final = "npu_rotary_mul"
_PAGE: Final = "op-plugin page of npu_rotary_mul"
_HOST: Final = "host check of the rotary position embedding kernel, ops-transformer"
UNIT: Final = 32
"""Bytes that the vector unit moves at once."""
SLACK: Final = 1.0 + 2.0**-7
"""A cosine of 1 may have grown by a bf16 ulp on its way here."""

DTYPE = Rule("NPU-ROTARY-DTYPE", ROTARY, "input", "float16, bfloat16 or float32", _PAGE, UNSUPPORTED)
TABLE_DTYPE = Rule("NPU-ROTARY-TABLE-DTYPE", ROTARY, "r1", "float16, bfloat16 or float32", _PAGE, UNSUPPORTED)
MODE = Rule("NPU-ROTARY-MODE", ROTARY, "rotary_mode", "half or interleave", _PAGE, UNSUPPORTED)
RANK = Rule("NPU-ROTARY-RANK", ROTARY, "input", "3 axes (TND) or 4 (BNSD, BSND, SBND)", _PAGE, UNSUPPORTED)
TABLES = Rule("NPU-ROTARY-TABLES", ROTARY, "r2", "the shape and dtype of r1", _PAGE, UNSUPPORTED)
BROADCAST = Rule(
    "NPU-ROTARY-BROADCAST",
    ROTARY,
    "r1",
    "11SD, B1SD or BNSD beside BNSD; 1S1D, BS1D or BSND beside BSND; S11D, SB1D or SBND beside SBND; "
    "T1D or TND beside TND",
    _PAGE,
    UNSUPPORTED,
)
INTERLEAVE = Rule(
    "NPU-ROTARY-INTERLEAVE",
    ROTARY,
    "r1",
    "the fully broadcast form (11SD, 1S1D, S11D, T1D) in interleave mode",
    _PAGE,
    UNSUPPORTED,
)
EVEN = Rule("NPU-ROTARY-EVEN", ROTARY, "input", "an even head dim below 896", _PAGE, UNSUPPORTED)
LIMITS = Rule(
    "NPU-ROTARY-LIMITS",
    ROTARY,
    "input",
    "B and N below 1000 (interleave: B * N below 1000)",
    _PAGE,
    UNSUPPORTED,
)
SHORT = Rule(
    "NPU-ROTARY-SHORT",
    ROTARY,
    "input",
    "B * N <= 8 * S in BNSD when half a head is a multiple of 32 bytes (use BSND or TND for a short tree)",
    _HOST,
    UNSUPPORTED,
)
UNIT_RANGE = Rule(
    "NPU-ROTARY-RANGE",
    ROTARY,
    "r1",
    "cosines and sines in [-1, 1]",
    _PAGE,
    "the values are used as they are",
    runs=True,
)

RULES = catalogue(globals())


def check_rotary_mul(
    input: Tensor,  # noqa: A002  # schema name
    r1: Tensor,
    r2: Tensor,
    rotary_mode: str = "half",
    rotate: Tensor | None = None,
) -> None:
    """Check one call of `npu_rotary_mul`.

    Raises:
        ContractError: naming the rule.
        NotModelledError: when `rotate` is given.
    """
    if rotate is not None:
        raise NotModelledError(
            f"{ROTARY}: the rotate matrix may be legal, but it is not covered; nothing checked"
        )
    need(input.dtype in FLOATS, DTYPE, input.dtype)
    need(r1.dtype in FLOATS, TABLE_DTYPE, r1.dtype)
    need(rotary_mode in {"half", "interleave"}, MODE, rotary_mode)
    need(input.dim() in {3, 4}, RANK, input)
    need(r1.shape == r2.shape and r1.dtype is r2.dtype, TABLES, r2)
    forms = layouts(input.shape, r1.shape)
    need(bool(forms), BROADCAST, f"{list(r1.shape)} beside {list(input.shape)}")
    need(input.shape[-1] % 2 == 0 and input.shape[-1] < 896, EVEN, input)
    if rotary_mode == "interleave":
        need(any(is_full_broadcast(form, r1.shape) for form in forms), INTERLEAVE, r1)
    check_sizes(input, forms, rotary_mode)
    need(in_unit_range(r1) and in_unit_range(r2), UNIT_RANGE, "a value outside")


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


def in_unit_range(table: Tensor) -> bool:
    """Whether every value lies in [-1, 1], give or take one bf16 rounding."""
    if table.numel() == 0 or not has_values(table):
        return True
    low, high = torch.aminmax(table)
    return bool(low >= -SLACK) and bool(high <= SLACK)
