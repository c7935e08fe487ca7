"""What a planted kernel bug is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from workbench.kernels.kernel import Kernel

Mistake = Literal["nan", "tile", "keys512", "form", "memory", "value", "choice", "precision"]
"""NaN alone; the end of a tile; 512 keys; number, shape or dtype; memory; the rest by what is wrong."""


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """A kernel with one mistake.

    Attributes:
        name: On the command line, after `planted:`.
        kernel: Operator that it stands for.
        mistake: Kind.
    """

    name: str
    kernel: str
    mistake: Mistake
    about: str
    function: Callable[..., Any]


def plant(kernel: str, mistake: Mistake) -> Callable[[Callable[..., Any]], PlantedBug]:
    """Make a planted bug of a function; its docstring's first line says what is wrong."""

    def make(function: Callable[..., Any]) -> PlantedBug:
        about = (function.__doc__ or "").strip().splitlines()[0].rstrip(".")
        return PlantedBug(function.__name__.replace("_", "-"), kernel, mistake, about, function)

    return make


def sound(kernel: str) -> Callable[..., Any]:
    """Return the border's own emulation of an operator, or its plain torch."""
    from workbench.kernels.operators import KERNELS
    from workbench.npu.operators import OPERATORS

    one: Kernel = KERNELS[kernel]
    if one.own is not None:
        return one.own
    return OPERATORS[one.operator]
