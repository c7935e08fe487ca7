"""The cast between formats: values and shape stay those of the tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial, moved
from workbench.kernels.operators.forms import named, of_border


def truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the values, whose bits are to be equal."""
    return (moved(arguments["input"]),)


def reference(arguments: Arguments, _: Order) -> tuple[Any, ...]:
    """Return a copy."""
    return (arguments["input"].clone(),)


def cast(draw: Draw, *shape: int, dtype: torch.dtype, acl_format: int) -> Arguments:
    """Return a cast of normal numbers."""
    return {"input": draw.normal(*shape, dtype=dtype), "acl_format": acl_format}


def cases() -> Iterator[Trial]:
    """Yield the cases."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        yield Trial(
            f"static-{named(dtype)}",
            lambda draw, dtype=dtype: cast(draw, 64, 64, dtype=dtype, acl_format=29),  # type: ignore[misc]  # bound
        )
    for rows in (1, 17, 33):
        yield Trial(
            f"rows-{rows}",
            lambda draw, rows=rows: cast(draw, rows, 40, dtype=torch.float16, acl_format=29),  # type: ignore[misc]  # bound
            "tile",
            "dynamic",
        )
    yield Trial("back", lambda draw: cast(draw, 5, 9, dtype=torch.float16, acl_format=2), form="dynamic")


format_cast = of_border(
    "npu::npu_format_cast",
    level=1,
    about="the same values in another order in memory",
    rule="default",
    truth=truth,
    reference=reference,
    cases=cases(),
)
