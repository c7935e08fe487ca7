"""Read the arguments of an operator call by its schema: names, order, defaults, keyword-only."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from inspect import Parameter
from typing import Any

import torch

from workbench.npu.schemas import pinned_schema


class Signature:
    """The arguments of one operator.

    Attributes:
        defaults: Default by name, of the arguments that have one.
        names: Every argument's name.
    """

    def __init__(self, schema: Any) -> None:
        """Take the arguments of a schema as torch parses it, e.g. `overload._schema`."""
        self._arguments = tuple(schema.arguments)
        self.names = frozenset(one.name for one in self._arguments)
        self.defaults = {one.name: one.default_value for one in self._arguments if one.has_default_value()}
        self._positional = tuple(one.name for one in self._arguments if not one.kwarg_only)

    @classmethod
    def pinned(cls, name: str) -> Signature:
        """Return the signature of the pinned schema of e.g. `npu::npu_rms_norm`.

        Raises:
            UsageError: No schema of that name is pinned.
        """
        return cls(torch._C.parse_schema(pinned_schema(name)))  # noqa: SLF001  # torch has no public parser

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name, defaults filled in.

        Raises:
            TypeError: An argument is missing, unknown, or given twice.
        """
        given = dict(zip(self._positional, args, strict=False))
        bound = {**self.defaults, **given, **kwargs}
        fits = len(args) <= len(self._positional) and given.keys().isdisjoint(kwargs)
        if not fits or bound.keys() != self.names:
            self.as_python.bind(*args, **kwargs)  # raises with the reason
        return bound

    @cached_property
    def as_python(self) -> inspect.Signature:
        """The signature of a Python function that takes these arguments."""
        return inspect.Signature(
            [
                Parameter(
                    one.name,
                    Parameter.KEYWORD_ONLY if one.kwarg_only else Parameter.POSITIONAL_OR_KEYWORD,
                    default=self.defaults.get(one.name, Parameter.empty),
                )
                for one in self._arguments
            ]
        )
