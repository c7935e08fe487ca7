"""Masking logits by rank and by mass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial, moved
from workbench.kernels.operators.forms import DTYPES, named, of_border

CLOSE = 2.0**-16
"""Mass within which float32 sums may fall on either side of the limit."""


def warped(arguments: Arguments, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the masked logits and which elements are open, row by row in a dtype.

    Values below the k-th largest go, those equal to it stay. Of what is left, ascending (of equals the one at
    the lower place first), those go whose summed probability is at most 1 - p; the largest stays.
    """
    logits = arguments["logits"]
    result, is_open = logits.clone(), torch.zeros_like(logits, dtype=torch.bool)
    for row, (values, p, k) in enumerate(zip(logits, arguments["p"], arguments["k"].tolist(), strict=True)):
        least = values.sort(descending=True).values[k - 1]
        result[row, values < least] = -math.inf
        order = result[row].sort(stable=True).indices
        mass = torch.softmax(result[row, order].to(dtype), -1).cumsum(-1)
        limit = 1 - p.to(dtype)
        gone = mass <= limit
        gone[-1] = False
        result[row, order[gone]] = -math.inf
        close = (mass - limit).abs() <= CLOSE
        close[-1] = False
        is_open[row, order[close]] = True
    return result, is_open


def truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the masked logits, whose kept values keep their bits."""
    return (moved(*warped(arguments, torch.float64)),)


def reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return the same with masses in float32."""
    return (warped(arguments, torch.float32)[0],)


def call(
    draw: Draw, rows: int, size: int, *, dtype: torch.dtype = torch.float32, scale: float = 2.0
) -> Arguments:
    """Return logits with k from 1 to the limit and p between 0.05 and 1."""
    k = draw.integers(1, min(1024, size) + 1, rows, dtype=torch.int32)
    p = 0.05 + 0.95 * draw.integers(0, 65, rows).float() / 64
    return {"logits": draw.normal(rows, size, dtype=dtype, scale=scale), "p": p.to(dtype), "k": k}


def tied_call(draw: Draw, rows: int, size: int) -> Arguments:
    """Return logits of a few values: the k-th largest has equals."""
    return call(draw, rows, size) | {"logits": draw.integers(0, 4, rows, size).float()}


def whole_call(draw: Draw) -> Arguments:
    """Return p = 1 and k = V, which keep everything, and p = 0 which keeps one."""
    made = call(draw, 4, 30)
    return made | {
        "p": torch.tensor([1.0, 1.0, 0.0, 0.0]),
        "k": torch.tensor([30, 1, 30, 2], dtype=torch.int32),
    }


def cases() -> Iterator[Trial]:
    """Yield the cases."""
    for dtype in DTYPES:
        yield Trial(f"static-{named(dtype)}", partial(call, rows=6, size=512, dtype=dtype))
    for size in (1, 63, 65, 1025):
        yield Trial(f"size-{size}", partial(call, rows=3, size=size), "tile", "dynamic")
    yield Trial("ties", partial(tied_call, rows=8, size=40), "ties", "dynamic")
    yield Trial("whole", whole_call, form="dynamic")
    yield Trial("steep", partial(call, rows=4, size=64, scale=40.0), "large", "dynamic")


top_k_top_p = of_border(
    "npu::npu_top_k_top_p",
    level=2,
    about="-inf outside the k largest that make up the top p",
    rule="default",
    truth=truth,
    reference=reference,
    heavy=partial(call, rows=16, size=8192),
    cases=cases(),
    operations=lambda arguments: 8 * int(arguments["logits"].numel()),
)
