"""Pinned operator schemas: what a machine without the wheel registers on plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

from tracing.errors import UsageError

PINNED_VERSION: Final = "2.13.0"
"""The torch_npu release whose schemas are pinned."""


@cache
def pinned_schemas() -> Mapping[str, str]:
    """Return all pinned schemas, keyed by qualified name with overload, e.g. `npu::npu_rms_norm`."""
    text = resources.files(__name__).joinpath(f"torch_npu_{PINNED_VERSION}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return MappingProxyType({line.partition("(")[0]: line for line in lines})


def pinned_schema(name: str) -> str:
    """Return the pinned schema text of an operator.

    Raises:
        UsageError: There is none.
    """
    schema = pinned_schemas().get(name)
    if schema is None:
        raise UsageError(
            f"operator {name} has no pinned schema; add its torch_npu schema to workbench/npu/schemas"
        )
    return schema
