"""Private formats of the device, as a tag on a tensor's memory: values and shape stay those of the tensor.

On the device a cast to FRACTAL_NZ moves the values in memory and leaves the logical tensor as it was. Here
they stay where they are; the tag says how they would lie there, and follows views, which share the memory.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

ND: Final = 2
FRACTAL_NZ: Final = 29
_TAG: Final = "specwb_npu_format"


def format_of(tensor: Tensor) -> int:
    """Return the format of a tensor's memory: `ND`, or what it was tagged with."""
    return int(getattr(tensor.untyped_storage(), _TAG, ND))


def tagged(tensor: Tensor, format_number: int) -> Tensor:
    """Tag the memory of a tensor, which should be its own, and return the tensor."""
    setattr(tensor.untyped_storage(), _TAG, format_number)
    return tensor
