"""Rotary embedding of one tensor, and of query and key in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial
from workbench.kernels.operators.forms import DTYPES, named, of_border, poked

BASE = 10000.0


def turned(x: Tensor, mode: str) -> Tensor:
    """Return the partner of each value, with its sign: halves, or even and odd places."""
    result = torch.empty_like(x)
    if mode == "half":
        middle = x.shape[-1] // 2
        result[..., :middle], result[..., middle:] = -x[..., middle:], x[..., :middle]
    else:
        result[..., 0::2], result[..., 1::2] = -x[..., 1::2], x[..., 0::2]
    return result


def rotated(x: Tensor, cos: Tensor, sin: Tensor, mode: str) -> Exact:
    """Return the exact rotation; tables are used in the dtype of x, as the contract says."""
    own, partner = x.double() * cos.to(x.dtype).double(), turned(x.double(), mode) * sin.to(x.dtype).double()
    return Exact(own + partner, x.dtype, spread=torch.hypot(own, partner), terms=2)


def mul_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the exact rotation of the input."""
    mode = arguments.get("rotary_mode", "half")
    return (rotated(arguments["input"], arguments["r1"], arguments["r2"], mode),)


def mul_reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return what plain torch makes of it: two products and a sum, each rounded."""
    x = arguments["input"]
    cos, sin = arguments["r1"].to(x.dtype), arguments["r2"].to(x.dtype)
    return (x * cos + turned(x, arguments.get("rotary_mode", "half")) * sin,)


def rope_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact query and key, as returned and as written."""
    both = tuple(
        rotated(arguments[name], arguments["cos"], arguments["sin"], "half") for name in ("query", "key")
    )
    return both * 2


def rope_reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return query and key of plain torch, twice."""
    cos, sin = arguments["cos"], arguments["sin"]
    both = tuple(x * cos + turned(x, "half") * sin for x in (arguments["query"], arguments["key"]))
    return both * 2


def tables(positions: Tensor, dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [S, D] of positions, in halves."""
    frequencies = BASE ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = positions.double()[:, None] * torch.cat((frequencies, frequencies))
    return angles.cos().to(dtype), angles.sin().to(dtype)


def mul_call(
    draw: Draw, rows: int, heads: int, dim: int, *, dtype: torch.dtype, mode: str = "half"
) -> Arguments:
    """Return BSND with tables 1S1D, positions anywhere up to 4,096."""
    cos, sin = tables(draw.integers(0, 4096, rows), dim, dtype)
    call = {
        "input": draw.normal(1, rows, heads, dim, dtype=dtype),
        "r1": cos[None, :, None],
        "r2": sin[None, :, None],
    }
    return call | ({} if mode == "half" else {"rotary_mode": mode})


def rope_call(draw: Draw, rows: int, heads: int, dim: int, *, dtype: torch.dtype) -> Arguments:
    """Return query and key with half the heads, BSND."""
    call = mul_call(draw, rows, heads, dim, dtype=dtype)
    key = draw.normal(1, rows, max(1, heads // 2), dim, dtype=dtype)
    return {"query": call["input"], "key": key, "cos": call["r1"], "sin": call["r2"]}


def shaped(call: Any, rows: int, heads: int, dim: int, *, odd: float | None = None, **options: Any) -> Any:
    """Return what builds a call, with an odd value in its first tensor."""

    def build(draw: Draw) -> Arguments:
        made: Arguments = call(draw, rows, heads, dim, **options)
        if odd is not None:
            poked(next(iter(made.values())), odd)
        return made

    return build


def shared_cases(call: Any) -> Iterator[Trial]:
    """Yield the cases of either form."""
    for dtype in DTYPES:
        yield Trial(f"static-{named(dtype)}", shaped(call, 16, 4, 128, dtype=dtype))
    for rows, heads in ((1, 1), (2, 9), (63, 3), (65, 2)):
        build = shaped(call, rows, heads, 64, dtype=torch.float32)
        yield Trial(f"rows-{rows}-heads-{heads}", build, "tile", "dynamic")
    yield Trial("nan", shaped(call, 3, 2, 64, dtype=torch.float32, odd=float("nan")), "nan", "dynamic")
    yield Trial("inf", shaped(call, 3, 2, 64, dtype=torch.float32, odd=float("inf")), "inf", "dynamic")


def rare_cases() -> Iterator[Trial]:
    """Yield what only the free form allows: other head dims, pairs, nothing, float32 tables."""
    for dim in (2, 30, 66, 256):
        build = shaped(mul_call, 4, 2, dim, dtype=torch.bfloat16)
        yield Trial(f"dim-{dim}", build, "tile", "dynamic")
    for dtype in DTYPES:
        build = shaped(mul_call, 5, 3, 64, dtype=dtype, mode="interleave")
        yield Trial(f"interleave-{named(dtype)}", build, form="dynamic")
    yield Trial("empty", shaped(mul_call, 0, 2, 64, dtype=torch.float32), "empty", "dynamic")


rotary_mul = of_border(
    "npu::npu_rotary_mul",
    level=2,
    about="x * cos + rotate(x) * sin, halves or pairs",
    rule="norm_family",
    truth=mul_truth,
    reference=mul_reference,
    heavy=shaped(mul_call, 256, 16, 128, dtype=torch.bfloat16),
    cases=(*shared_cases(mul_call), *rare_cases()),
    operations=lambda arguments: 3 * int(arguments["input"].numel()),
)
apply_rotary = of_border(
    "npu::npu_apply_rotary_pos_emb",
    level=2,
    about="the same for query and key, in place",
    rule="norm_family",
    truth=rope_truth,
    reference=rope_reference,
    writes=("query", "key"),
    heavy=shaped(rope_call, 256, 16, 128, dtype=torch.bfloat16),
    cases=shared_cases(rope_call),
    operations=lambda arguments: 3 * int(arguments["query"].numel() + arguments["key"].numel()),
)
