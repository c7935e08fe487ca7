"""Questions about tensors that several contracts ask."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

HALF: Final = (torch.float16, torch.bfloat16)
FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32)


def is_half_or_relaxed(tensor: Tensor) -> bool:
    """Whether the dtype is fp16 or bf16, or float32 away from the device (the one relaxation)."""
    if tensor.dtype is torch.float32:
        return not on_device(tensor)
    return tensor.dtype in HALF


def on_device(tensor: Tensor) -> bool:
    """Whether the tensor lives on an NPU."""
    return tensor.device.type in {"npu", "privateuseone"}


def has_values(tensor: Tensor) -> bool:
    """Whether the elements can be read here: meta and fake tensors have none."""
    return tensor.device.type != "meta" and type(tensor) in {Tensor, torch.nn.Parameter}


def in_range(indices: Tensor, low: int, high: int) -> bool:
    """Whether every element lies in [low, high); true for an empty or value-less tensor."""
    if indices.numel() == 0 or not has_values(indices):
        return True
    smallest, largest = torch.aminmax(indices)
    return low <= int(smallest) and int(largest) < high


def are_unique(values: Tensor) -> bool:
    """Whether no element of a 1-D tensor repeats."""
    if values.numel() < 2 or not has_values(values):
        return True
    ordered = values.sort().values
    return not bool((ordered[1:] == ordered[:-1]).any())


def overlap(first: Tensor, second: Tensor) -> bool:
    """Whether the memory ranges of two contiguous tensors share a byte."""
    if first.numel() == 0 or second.numel() == 0 or not has_values(first) or not has_values(second):
        return False
    if first.device != second.device:
        return False
    first_start, second_start = first.data_ptr(), second.data_ptr()
    return (
        first_start < second_start + second.numel() * second.element_size()
        and second_start < first_start + first.numel() * first.element_size()
    )
