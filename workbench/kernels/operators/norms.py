"""RMSNorm and its forms with a residual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial
from workbench.kernels.operators.forms import DTYPES, every_second, named, of_border, poked

EPSILON = 1e-6


def normed(total: Tensor, gamma: Tensor, epsilon: float, dtype: torch.dtype) -> tuple[Exact, Exact]:
    """Return exact y and 1 / rms of float64 rows."""
    axes = tuple(range(-gamma.dim(), 0))
    rstd = (total.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    terms = gamma.numel()
    return (Exact(total * rstd * gamma.double(), dtype, terms=terms), Exact(rstd, torch.float32, terms=terms))


def rms_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact y and rstd."""
    x, gamma = arguments["input"], arguments["gamma"]
    return normed(x.double(), gamma, arguments.get("epsilon", EPSILON), x.dtype)


def add_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact y, rstd and the sum."""
    x1, x2 = arguments["x1"], arguments["x2"]
    total = x1.double() + x2.double()
    y, rstd = normed(total, arguments["gamma"], arguments.get("epsilon", EPSILON), x1.dtype)
    # The sum is rounded, and its statistics with it: by a unit of x over the root of the width.
    unit = torch.finfo(x1.dtype).eps / 2 / rstd.terms**0.5
    return y, replace(rstd, floor=unit * rstd.value), Exact(total, x1.dtype)


def add_v2_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact rstd; then what x1 and x2 hold afterwards: the sum and y."""
    y, rstd, total = add_truth(arguments)
    return rstd, total, y


def eager(total: Tensor, gamma: Tensor, epsilon: float, order: Order) -> tuple[Tensor, Tensor]:
    """Return y, rounded before gamma as models define it, and rstd; statistics in float32."""
    exact = total.float()
    flat = exact.flatten(exact.dim() - gamma.dim())
    shuffled = flat[..., order.of(flat.shape[-1])]
    mean = shuffled.square().mean(-1).view(*exact.shape[: exact.dim() - gamma.dim()], *[1] * gamma.dim())
    rstd = torch.rsqrt(mean + epsilon)
    return gamma * (exact * rstd).to(total.dtype), rstd


def rms_reference(arguments: Arguments, order: Order) -> tuple[Tensor, ...]:
    """Return y and rstd of plain torch."""
    x = arguments["input"]
    y, rstd = eager(x, arguments["gamma"], arguments.get("epsilon", EPSILON), order)
    return y.to(x.dtype), rstd


def add_reference(arguments: Arguments, order: Order) -> tuple[Tensor, ...]:
    """Return y, rstd and sum of plain torch, which rounds the sum first."""
    total = arguments["x1"] + arguments["x2"]
    return *eager(total, arguments["gamma"], arguments.get("epsilon", EPSILON), order), total


def add_v2_reference(arguments: Arguments, order: Order) -> tuple[Tensor, ...]:
    """Return rstd, sum and y of plain torch."""
    y, rstd, total = add_reference(arguments, order)
    return rstd, total, y


def rms_call(draw: Draw, *shape: int, dtype: torch.dtype, **changes: Any) -> Arguments:
    """Return rows of about unit size and weights around 1."""
    gamma = 1 + draw.normal(shape[-1], scale=0.1)
    return {"input": draw.normal(*shape, dtype=dtype), "gamma": gamma.to(dtype)} | changes


def add_call(draw: Draw, *shape: int, dtype: torch.dtype) -> Arguments:
    """Return two summands and weights."""
    call = rms_call(draw, *shape, dtype=dtype)
    return {"x1": call["input"], "x2": draw.normal(*shape, dtype=dtype), "gamma": call["gamma"]}


def shaped(call: Any, *shape: int, dtype: torch.dtype, scale: float = 1.0, odd: Sequence[float] = ()) -> Any:
    """Return what builds a call of a shape, its rows scaled, with odd values in its first tensor."""

    def build(draw: Draw) -> Arguments:
        made: Arguments = call(draw, *shape, dtype=dtype)
        poked(next(iter(made.values())), *odd)
        return {name: value * scale if name != "gamma" else value for name, value in made.items()}

    return build


def strided(draw: Draw) -> Arguments:
    """Return rows that skip memory."""
    call = rms_call(draw, 5, 64, dtype=torch.float32)
    return call | {"input": every_second(call["input"])}


def cases(call: Any, *, may_be_empty: bool = True) -> Iterator[Trial]:
    """Yield the cases of a norm whose first arguments are rows."""
    for dtype in DTYPES:
        name = named(dtype)
        yield Trial(f"static-{name}", shaped(call, 16, 256, dtype=dtype))
        yield Trial(f"long-{name}", shaped(call, 2, 5120, dtype=dtype), form="dynamic")
        yield Trial(f"small-{name}", shaped(call, 4, 64, dtype=dtype, scale=2.0**-9), form="dynamic")
    for width in (1, 63, 65, 257, 1023, 2049):
        build = shaped(call, 3, width, dtype=torch.float32)
        yield Trial(f"width-{width}", build, "tile", "dynamic")
    for rows in (1, 7, 65):
        build = shaped(call, rows, 48, dtype=torch.bfloat16)
        yield Trial(f"rows-{rows}", build, "tile", "dynamic")
    yield Trial("nan", shaped(call, 6, 96, dtype=torch.float32, odd=(float("nan"),)), "nan", "dynamic")
    infinities = (float("inf"), float("-inf"))
    yield Trial("inf", shaped(call, 6, 96, dtype=torch.bfloat16, odd=infinities), "inf", "dynamic")
    yield Trial("large-fp16", shaped(call, 4, 64, dtype=torch.float16, scale=4096.0), "large", "dynamic")
    denormal = shaped(call, 4, 64, dtype=torch.float16, scale=2.0**-22)
    yield Trial("denormal-fp16", denormal, "denormal", "dynamic")
    if may_be_empty:
        yield Trial("empty", shaped(call, 0, 64, dtype=torch.bfloat16), "empty", "dynamic")


def operations(arguments: Arguments) -> int:
    """Return operations of a norm: square, sum, two products for each element."""
    return 4 * int(next(iter(arguments.values())).numel())


rms_norm = of_border(
    "npu::npu_rms_norm",
    level=2,
    about="x / rms(x) * gamma, and 1 / rms in float32",
    rule="norm_family",
    truth=rms_truth,
    reference=rms_reference,
    cases=(*cases(rms_call), Trial("strided", strided, "strided", "dynamic")),
    operations=operations,
    heavy=shaped(rms_call, 256, 4096, dtype=torch.bfloat16),
)
_heavy = shaped(add_call, 256, 4096, dtype=torch.bfloat16)
_add = partial(of_border, level=2, rule="norm_family", operations=operations, heavy=_heavy)
add_rms_norm = _add(
    "npu::npu_add_rms_norm",
    about="RMSNorm of a sum, with 1 / rms and the sum",
    truth=add_truth,
    reference=add_reference,
    cases=cases(add_call, may_be_empty=False),
)
add_rms_norm_v2 = _add(
    "npu::npu_add_rms_norm_v2",
    about="the same in place: x1 becomes the sum, x2 becomes y",
    truth=add_v2_truth,
    reference=add_v2_reference,
    writes=("x1", "x2"),
    cases=cases(add_call, may_be_empty=False),
)
