"""Generators of legal calls of the smaller operators, written from the vendor's documented rules.

Every choice quotes the rule that allows it. Sizes stay small, so that the emulation can also be run.
"""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32])  # float32: off the device only


def filled(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return numbers of unit size that depend on the shape alone."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float32) * 1.7).view(shape).to(dtype)


@st.composite
def rotary_calls(draw: st.DrawFn) -> dict[str, Any]:
    """Any of the broadcast forms of the page; in BNSD with 32-byte half heads B * N stays within 8 * S."""
    batch, rows, count = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 12))
    dim, dtype = 2 * draw(st.integers(1, 64)), draw(DTYPES)
    mode, form = (
        draw(st.sampled_from(["half", "interleave"])),
        draw(st.sampled_from(["BNSD", "BSND", "SBND", "TND"])),
    )
    sizes = {"B": batch, "N": count, "S": rows, "T": rows, "D": dim}
    if form == "BNSD":
        sizes["S"] = max(rows, -(-batch * count // 8))
    flat = [letter for letter in form if letter in "BN"]
    subsets: list[list[str]] = [flat] if mode == "interleave" else [flat, ["N"], []]
    ones = draw(st.sampled_from(subsets))
    table = filled(*(1 if letter in ones else sizes[letter] for letter in form), dtype=draw(DTYPES))
    x = filled(*(sizes[letter] for letter in form), dtype=dtype)
    return {"input": x, "r1": table, "r2": table.neg(), "rotary_mode": mode}


@st.composite
def cache_calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Paged cache writes in Norm, PA_NZ and the ATB form; unique slots, the ATB ones may be negative."""
    form = draw(st.sampled_from(["Norm", "PA_NZ", "atb"]))
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.int8]))
    count, blocks, size = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.sampled_from([8, 16]))
    lanes = 32 // dtype.itemsize
    dims = [lanes * draw(st.integers(1, 2)) for _ in range(2)]
    slots = draw(st.lists(st.integers(0, blocks * size - 1), min_size=1, max_size=6, unique=True))
    if form == "atb":
        slots += [-1] * draw(st.integers(0, 2))
    call: dict[str, Any] = {}
    for name, dim in zip(("key", "value"), dims, strict=True):
        call[name] = filled(len(slots), count, dim, dtype=dtype)
        shape = (blocks, count * dim // lanes, size, lanes) if form == "PA_NZ" else (blocks, size, count, dim)
        call[f"{name}_cache"] = torch.zeros(shape, dtype=dtype)
    if form == "atb":
        return "atb::_npu_reshape_and_cache", call | {"slot_indices": torch.tensor(slots, dtype=torch.int32)}
    integer = draw(st.sampled_from([torch.int32, torch.int64]))
    call |= {"slot_mapping": torch.tensor(slots, dtype=integer)}
    return "npu::npu_scatter_pa_kv_cache", call | ({"cache_mode": "Norm"} if form == "Norm" else {})


@st.composite
def matmul_calls(draw: st.DrawFn) -> dict[str, Any]:
    """int8 or packed int4 weights, contiguous or transposed; scales per tensor, column or group of 32 or 64.

    K is more than 8: a transposed int4 weight of one carrier row is contiguous too, and read as (K, N / 8).
    """
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16]))
    rows, inner, columns = draw(st.integers(1, 4)), 8 * draw(st.integers(2, 20)), 8 * draw(st.integers(1, 6))
    carrier, transposed = draw(st.sampled_from([torch.int8, torch.int32])), draw(st.booleans())
    shape = (columns, inner) if transposed else (inner, columns)
    weight = torch.ones(shape[0], shape[1] // (8 if carrier is torch.int32 else 1), dtype=carrier)
    groups = [size for size in (32, 64) if size < inner]
    group = draw(st.sampled_from([0, *groups]))
    scales = [(-(-inner // group), columns)] if group else [(1,), (1, 1), (columns,), (1, columns)]
    scale = filled(*draw(st.sampled_from(scales)), dtype=dtype)
    bias_dtype = torch.float16 if dtype is torch.float16 else torch.float32
    return {
        "x": filled(rows, inner, dtype=dtype),
        "weight": weight.t() if transposed else weight,
        "antiquant_scale": scale,
        "antiquant_offset": draw(st.sampled_from([None, scale.clone()])),
        "bias": draw(
            st.sampled_from([None, filled(columns, dtype=bias_dtype), filled(1, columns, dtype=bias_dtype)])
        ),
        "antiquant_group_size": group,
        "inner_precise": draw(st.integers(0, 1)),
    }


@st.composite
def gating_calls(draw: st.DrawFn) -> dict[str, Any]:
    """Groups of more than 2 experts, k within the kept groups."""
    groups, size = draw(st.integers(1, 6)), draw(st.integers(3, 9))
    kept = draw(st.integers(1, groups))
    dtype = draw(DTYPES)
    return {
        "x": filled(draw(st.integers(1, 4)), groups * size, dtype=dtype),
        "k": draw(st.integers(1, size * kept)),
        "bias": draw(st.sampled_from([None, filled(groups * size, dtype=dtype)])),
        "k_group": kept,
        "group_count": groups,
        "group_select_mode": draw(st.integers(0, 1)),
        "norm_type": draw(st.integers(0, 1)),
        "out_flag": draw(st.booleans()),
    }
