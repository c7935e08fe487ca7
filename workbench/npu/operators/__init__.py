"""Ascend's operators: one file each, with arguments, contract rules and emulation.

A module here that defines an operator (`workbench.npu.definition.operator`) is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from workbench.npu.contract import ContractRule
from workbench.npu.definition import Operator

_VALUES: Final = tuple(
    value
    for found in pkgutil.walk_packages(__path__, f"{__name__}.")
    for value in vars(importlib.import_module(found.name)).values()
)

OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType(
    {value.name: value for value in _VALUES if isinstance(value, Operator)}
)
"""Every operator by the name under which its schema is registered."""

RULES: Final[tuple[ContractRule, ...]] = tuple(
    dict.fromkeys(value for value in _VALUES if isinstance(value, ContractRule))
)
"""Every contract rule, one entry each."""
