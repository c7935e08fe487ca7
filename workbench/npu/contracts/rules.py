"""What a contract rule is, and the one way to enforce it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

import torch

from tracing.errors import ContractError, UsageError
from workbench.npu.modes import is_hardware

UNSUPPORTED: Final = "not supported: a host check refuses it (161002), or the result is undefined"
"""What the device does with most broken calls."""


class NotModelledError(UsageError):
    """An argument is legal on the device, but neither contract nor twin covers it: nothing was checked."""


class Rule(NamedTuple):
    """One documented rule of one operator.

    Attributes:
        id: Stable id, e.g. `NPU-FIA-MASK-DTYPE`.
        operator: Operator name without namespace.
        argument: The argument that the rule is about.
        sentence: What the contract allows, fit to follow "expected".
        source: Where that is documented.
        device: What the device does with a call that breaks it.
        runs: True when the device runs such a call with a known result, so that hardware mode lets it pass.
    """

    id: str
    operator: str
    argument: str
    sentence: str
    source: str
    device: str
    runs: bool = False


def catalogue(namespace: Mapping[str, object]) -> tuple[Rule, ...]:
    """Return every rule constant of a module, in order of definition."""
    return tuple(value for value in namespace.values() if isinstance(value, Rule))


def need(
    held: bool, rule: Rule, value: object, *, argument: str | None = None, operator: str | None = None
) -> None:
    """Refuse the call unless `held`, or unless hardware mode runs it anyway.

    Args:
        held: Whether the rule holds.
        rule: The rule.
        value: What came; shortened for the sentence.
        argument: The caller's name for the argument, where it differs from the rule's.
        operator: The operator called, where several share the rule.

    Raises:
        ContractError: when the rule is broken.
    """
    if not held and not (rule.runs and is_hardware()):
        refuse(rule, value, argument=argument, operator=operator)


def refuse(
    rule: Rule, value: object, *, argument: str | None = None, operator: str | None = None
) -> NoReturn:
    """Raise the error that names `rule`; see `need`."""
    raise ContractError(
        operator=operator or rule.operator,
        rule=rule.id,
        argument=argument or rule.argument,
        value=shown(value),
        expected=rule.sentence,
        device=rule.device,
        source=rule.source,
    )


def shown(value: object) -> str:
    """Return `value` as short text; a tensor as dtype and shape."""
    if isinstance(value, torch.Tensor):
        return f"{dtype_name(value.dtype)} {list(value.shape)}"
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    text = str(list(value)) if isinstance(value, torch.Size) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def dtype_name(dtype: torch.dtype) -> str:
    """Return `bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")
