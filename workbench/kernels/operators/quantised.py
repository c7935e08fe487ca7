"""The product with quantised weights, and packing int4."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial, moved
from workbench.kernels.operators.forms import named, of_border


def whole_numbers(weight: Tensor) -> Tensor:
    """Return int64 [K, N] of int8, or of int32 words: 8 nibbles along the contiguous axis, lowest first."""
    if weight.dtype is not torch.int32:
        return weight.long()
    if not weight.is_contiguous():
        return whole_numbers(weight.t()).t()
    words = weight.long() & 0xFFFFFFFF
    nibbles = torch.stack([(words >> shift) & 0xF for shift in range(0, 32, 4)], -1).flatten(-2)
    return torch.where(nibbles > 7, nibbles - 16, nibbles)


def by_row(table: Tensor, group: int, rows: int) -> Tensor:
    """Return a scale or offset that broadcasts over [K, N]."""
    table = table.reshape(-1, table.shape[-1])
    return table[torch.arange(rows, device=table.device) // group] if group else table


def dequantised(arguments: Arguments, dtype: torch.dtype) -> Tensor:
    """Return (weight + offset) * scale, [K, N], in a dtype."""
    values = whole_numbers(arguments["weight"]).to(dtype)
    group, rows = arguments.get("antiquant_group_size", 0), len(values)
    offset = arguments.get("antiquant_offset")
    if offset is not None:
        values = values + by_row(offset.to(dtype), group, rows)
    return values * by_row(arguments["antiquant_scale"].to(dtype), group, rows)


def truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the exact product."""
    x, bias = arguments["x"], arguments.get("bias")
    weight = dequantised(arguments, torch.float64)
    value = x.double() @ weight
    spread = (x.double().square() @ weight.square()).sqrt()
    if bias is not None:
        value = value + bias.double()
        spread = torch.hypot(spread, bias.double().expand_as(spread))
    return (Exact(value, x.dtype, spread=spread, terms=x.shape[1]),)


def reference(arguments: Arguments, order: Order) -> tuple[Tensor, ...]:
    """Return the product with weights rounded to the dtype of x and float32 sums."""
    x, bias = arguments["x"], arguments.get("bias")
    weight = dequantised(arguments, torch.float32).to(x.dtype)
    shuffled = order.of(x.shape[1])
    product = x[:, shuffled].float() @ weight[shuffled].float()
    return ((product if bias is None else product + bias.float()).to(x.dtype),)


def packed(values: Tensor) -> Tensor:
    """Return int32 words of int4 values along the last axis, the first in the lowest bits."""
    nibbles = (values.long() & 0xF).unflatten(-1, (-1, 8))  # type: ignore[no-untyped-call]  # untyped in torch
    words = sum(nibbles[..., place] << (4 * place) for place in range(8))
    return torch.where(words > 0x7FFFFFFF, words - (1 << 32), words).int()


def pack_reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return the words."""
    return (packed(arguments["weight"]),)


def pack_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the words, which are to be equal."""
    return (moved(packed(arguments["weight"])),)


def call(
    draw: Draw,
    rows: int,
    inner: int,
    columns: int,
    *,
    dtype: torch.dtype = torch.bfloat16,
    group: int = 0,
    int4: bool = True,
    transposed: bool = False,
    offset: bool = False,
    bias: bool = False,
) -> Arguments:
    """Return a product; outputs are of about unit size."""
    shape = (columns, inner) if transposed else (inner, columns)
    values = draw.integers(-8, 8, *shape) if int4 else draw.integers(-128, 128, *shape)
    weight = packed(values) if int4 else values.to(torch.int8)
    scales = (-(-inner // group), columns) if group else (columns,)
    size = (4.6 if int4 else 74.0) * inner**0.5
    made: Arguments = {
        "x": draw.normal(rows, inner, dtype=dtype),
        "weight": weight.t() if transposed else weight,
        "antiquant_scale": ((1 + 0.3 * draw.normal(*scales).tanh()) / size).to(dtype),
    }
    if group:
        made["antiquant_group_size"] = group
    if offset:
        made["antiquant_offset"] = draw.integers(-3, 4, *scales).to(dtype)
    if bias:
        made["bias"] = draw.normal(columns, dtype=torch.float16 if dtype is torch.float16 else torch.float32)
    return made


def with_values(value: float, **options: Any) -> Any:
    """Return what builds a product with a value in the first row of x."""

    def build(draw: Draw) -> Arguments:
        made = call(draw, 3, 64, 16, **options)
        made["x"][0, -1] = value
        return made

    return build


def cases() -> Iterator[Trial]:
    """Yield the cases of the product."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        yield Trial(
            f"static-{named(dtype)}", partial(call, rows=8, inner=256, columns=64, dtype=dtype, group=64)
        )
    for inner in (8, 64, 72, 520, 2048, 4104):
        build = partial(call, rows=2, inner=inner, columns=24, dtype=torch.float32)
        yield Trial(f"inner-{inner}", build, "tile", "dynamic")
    for rows in (1, 15, 17, 33):
        yield Trial(
            f"rows-{rows}", partial(call, rows=rows, inner=96, columns=40, group=32), "tile", "dynamic"
        )
    uneven = partial(call, rows=4, inner=168, columns=16, group=64, offset=True, dtype=torch.float16)
    yield Trial("last-group-short", uneven, "tile", "dynamic")
    yield Trial("transposed", partial(call, rows=4, inner=128, columns=24, transposed=True), form="dynamic")
    yield Trial("int8", partial(call, rows=4, inner=128, columns=24, int4=False, bias=True), form="dynamic")
    yield Trial(
        "offset-and-bias",
        partial(call, rows=4, inner=128, columns=24, offset=True, bias=True),
        form="dynamic",
    )
    yield Trial("long", partial(call, rows=1, inner=16384, columns=8, group=128), form="dynamic")
    yield Trial("nan", with_values(float("nan")), "nan", "dynamic")
    yield Trial("inf", with_values(float("inf")), "inf", "dynamic")


def pack_call(draw: Draw, *shape: int) -> Arguments:
    """Return values from -8 to 7, both ends among them."""
    weight = draw.integers(-8, 8, *shape, dtype=torch.int32)
    if weight.numel():
        weight.view(-1)[:8] = torch.tensor([-8, 7, -1, 0, 1, -7, 6, -8], dtype=torch.int32)
    return {"weight": weight}


def pack_cases() -> Iterator[Trial]:
    """Yield the cases of the packing."""
    yield Trial("static", lambda draw: pack_call(draw, 64, 128))
    for columns in (8, 56, 264):
        yield Trial(f"columns-{columns}", lambda draw, n=columns: pack_call(draw, 3, n), "tile", "dynamic")  # type: ignore[misc]  # bound
    yield Trial("three-axes", lambda draw: pack_call(draw, 2, 5, 16), form="dynamic")


def operations(arguments: Arguments) -> int:
    """Return operations of the product: a product and a sum for each weight and row."""
    weight = arguments["weight"]
    return 2 * len(arguments["x"]) * int(weight.numel()) * (8 if weight.dtype is torch.int32 else 1)


weight_quant_matmul = of_border(
    "npu::npu_weight_quant_batchmatmul",
    level=3,
    about="x @ ((weight + offset) * scale) + bias with int8 or int4 weights",
    rule="basic_matmul",
    truth=truth,
    reference=reference,
    heavy=partial(call, rows=16, inner=2048, columns=2048, group=128),
    cases=cases(),
    operations=operations,
)
int4pack = of_border(
    "npu::npu_convert_weight_to_int4pack",
    level=1,
    about="8 int4 values to an int32, the first in the lowest bits",
    rule="default",
    truth=pack_truth,
    reference=pack_reference,
    cases=pack_cases(),
)
