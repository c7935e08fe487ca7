"""What the cases of several operators share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor

from workbench.kernels.calls import LEGAL
from workbench.kernels.kernel import Arguments, Draw, Kernel, Trial

HALVES: Final = (torch.bfloat16, torch.float16)
DTYPES: Final = (*HALVES, torch.float32)
Build = Callable[[Draw], Arguments]


def named(dtype: torch.dtype) -> str:
    """Return a dtype's short name."""
    return {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}[dtype]


def legal_cases(operator: str) -> Iterator[Trial]:
    """Yield the operator's legal calls of the contract tests as cases."""
    for form, (name, build) in LEGAL.items():
        if name == operator:
            yield Trial(f"legal-{form}", lambda _, build=build: build(), form="dynamic")  # type: ignore[misc]  # bound


def of_border(operator: str, *, cases: Iterable[Trial], **facts: Any) -> Kernel:
    """Return the row of an operator of the border; its legal calls are cases too."""
    name = operator.partition("::")[2]
    return Kernel(name=name, operator=operator, cases=(*cases, *legal_cases(operator)), **facts)


def poking(call: Callable[..., Arguments], name: str, *values: float, **options: Any) -> Build:
    """Return what builds a call with values at places spread over one of its tensors."""

    def build(draw: Draw) -> Arguments:
        made = call(draw, **options)
        poked(made[name], *values)
        return made

    return build


def every_second(tensor: Tensor) -> Tensor:
    """Return a view of the same shape along whose last axis every second element of the memory is skipped."""
    wide = torch.zeros(*tensor.shape[:-1], 2 * tensor.shape[-1], dtype=tensor.dtype)
    view = wide[..., ::2]
    view.copy_(tensor)
    return view


def poked(tensor: Tensor, *values: float) -> Tensor:
    """Write values at places spread over a tensor, the last element among them; return it."""
    flat = tensor.view(-1)
    for number, value in enumerate(values):
        flat[-1 - number * (flat.numel() // (len(values) + 1))] = value
    return tensor


def rms(terms: Tensor, dim: int = -1) -> Tensor:
    """Return the root of the sum of squares along an axis."""
    return terms.square().sum(dim).sqrt()
