"""Contract rules, their enforcement, and predicates on tensors that several contracts share."""

from __future__ import annotations

from typing import Final, NamedTuple, NoReturn

import torch
from torch import Tensor

from tracing.errors import ContractError, UsageError
from workbench.npu.modes import is_hardware

UNSUPPORTED: Final = "not supported: a host check refuses it (161002), or the result is undefined"
"""What the device does with most calls that break a rule."""
HALF: Final = (torch.float16, torch.bfloat16)
FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32)


class NotModelledError(UsageError):
    """An argument is legal on the device, but not covered here: nothing was checked."""


class ContractRule(NamedTuple):
    """One documented rule of one operator.

    Attributes:
        id: Stable id, e.g. `NPU-FIA-MASK-DTYPE`.
        argument: The argument that the rule is about.
        sentence: What the contract allows, fit to follow "expected".
        source: Where that is documented.
        operator: Operator name without namespace; of several that share the rule, the first.
        device: What the device does with a call that breaks it.
        runs: True when the device runs such a call with a known result, so that hardware mode lets it pass.
    """

    id: str
    argument: str
    sentence: str
    source: str
    operator: str
    device: str = UNSUPPORTED
    runs: bool = False


def need(held: bool, rule: ContractRule, value: object, argument: str | None = None) -> None:
    """Refuse the call unless `held`, or unless hardware mode runs it anyway.

    The error shows `value` shortened, and names `argument` where the one at fault is not the rule's.

    Raises:
        ContractError: when the rule is broken.
    """
    if not held and not (rule.runs and is_hardware()):
        refuse(rule, value, argument)


def refuse(rule: ContractRule, value: object, argument: str | None = None) -> NoReturn:
    """Raise the error that names `rule`; see `need`."""
    raise ContractError(
        operator=rule.operator,
        rule=rule.id,
        argument=argument or rule.argument,
        value=shown(value),
        expected=rule.sentence,
        device=rule.device,
        source=rule.source,
    )


def shown(value: object) -> str:
    """Return `value` as short text; a tensor as dtype and shape."""
    if isinstance(value, Tensor):
        return f"{shown(value.dtype)} {list(value.shape)}"
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    text = str(list(value)) if isinstance(value, torch.Size) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def is_half_or_relaxed(tensor: Tensor) -> bool:
    """Whether the dtype is fp16 or bf16, or float32 away from the device (the one relaxation)."""
    if tensor.dtype is torch.float32:
        return tensor.device.type not in {"npu", "privateuseone"}
    return tensor.dtype in HALF


def has_values(tensor: Tensor) -> bool:
    """Whether the elements can be read here: meta and fake tensors have none."""
    return tensor.device.type != "meta" and type(tensor) in {Tensor, torch.nn.Parameter}


def in_range(values: Tensor, low: float, high: float) -> bool:
    """Whether every element lies in [low, high); true for an empty or value-less tensor."""
    if values.numel() == 0 or not has_values(values):
        return True
    smallest, largest = torch.aminmax(values)
    return bool(low <= smallest.item() and largest.item() < high)


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
