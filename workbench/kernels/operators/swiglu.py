"""SwiGLU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial
from workbench.kernels.operators.forms import DTYPES, named, of_border, poked


def truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact silu(gate) * up."""
    x = arguments["input"]
    gate, up = x.double().chunk(2, arguments.get("dim", -1))
    # A sigmoid below the smallest normal float32 may become 0.
    return (Exact(gate * torch.sigmoid(gate) * up, x.dtype, floor=2.0**-126 * (gate * up).abs()),)


def reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return what plain torch makes of it, two roundings."""
    gate, up = arguments["input"].chunk(2, arguments.get("dim", -1))
    return (functional.silu(gate) * up,)


def shaped(*shape: int, dtype: torch.dtype, scale: float = 1.0, dim: int = -1) -> Any:
    """Return what builds a call."""

    def build(draw: Draw) -> Arguments:
        x = draw.normal(*shape, dtype=dtype, scale=scale)
        return {"input": x} if dim == -1 else {"input": x, "dim": dim}

    return build


def with_values(*values: float, dtype: torch.dtype) -> Any:
    """Return what builds a call with values among the gates and ups."""
    return lambda draw: {"input": poked(draw.normal(5, 96, dtype=dtype), *values)}


def cases() -> Iterator[Trial]:
    """Yield the cases."""
    for dtype in DTYPES:
        name = named(dtype)
        yield Trial(f"static-{name}", shaped(16, 512, dtype=dtype))
        yield Trial(f"wide-{name}", shaped(2, 4096, dtype=dtype, scale=3.0), form="dynamic")
        yield Trial(f"steep-{name}", shaped(6, 128, dtype=dtype, scale=60.0), "large", "dynamic")
    for width in (2, 62, 66, 258, 2050):
        yield Trial(f"width-{width}", shaped(3, width, dtype=torch.float32), "tile", "dynamic")
    yield Trial("first-axis", shaped(6, 40, dtype=torch.float32, dim=0), form="dynamic")
    yield Trial("middle-axis", shaped(2, 6, 24, dtype=torch.bfloat16, dim=1), form="dynamic")
    yield Trial("nan", with_values(float("nan"), dtype=torch.bfloat16), "nan", "dynamic")
    yield Trial("inf", with_values(float("inf"), float("-inf"), dtype=torch.float32), "inf", "dynamic")
    yield Trial("denormal-fp16", shaped(4, 64, dtype=torch.float16, scale=2.0**-20), "denormal", "dynamic")
    yield Trial("overflow-fp16", shaped(4, 64, dtype=torch.float16, scale=400.0), "large", "dynamic")


swiglu = of_border(
    "npu::npu_swiglu",
    level=2,
    about="silu(first half) * second half",
    rule="swiglu",
    truth=truth,
    reference=reference,
    cases=cases(),
    heavy=shaped(256, 8192, dtype=torch.bfloat16),
    operations=lambda arguments: 5 * int(arguments["input"].numel()) // 2,
)
