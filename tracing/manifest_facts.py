"""Tables and dataclasses read from the plain data of a manifest, every field checked."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal, TypeVar

from tracing.errors import TraceError, UsageError

Facts = TypeVar("Facts")


def table(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a part of a manifest that should be a table; empty where it is not there.

    Raises:
        TraceError: It is something else.
    """
    value = mapping.get(key) or {}
    if not isinstance(value, Mapping):
        raise _wrong(key, "a table", value)
    return value


def read_facts(kind: type[Facts], data: Any, where: str) -> Facts:
    """Return plain data of a manifest as a dataclass, every field checked.

    Raises:
        TraceError: A fact is there and is not of its kind.
    """
    if not isinstance(data, Mapping):
        raise _wrong(where, "a table", data)
    hints = typing.get_type_hints(kind)
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # only dataclasses are read
    unknown = sorted(set(data) - set(names))
    if unknown:
        raise TraceError(f"{where} of the manifest should name {', '.join(names)}, got {unknown[0]!r}")
    values = {name: _value(hints[name], data[name], f"{where}.{name}") for name in names if name in data}
    try:
        return kind(**values)
    except (UsageError, TypeError) as problem:
        raise TraceError(f"{where} of the manifest: {problem}") from None


_PLAIN: Final[Mapping[type, str]] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # T | None
        return None if value is None else _value(arguments[0], value, where)
    if origin in {tuple, frozenset}:
        if not isinstance(value, (list, tuple)):
            raise _wrong(where, "a list", value)
        return origin(_value(arguments[0], each, where) for each in value)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(where, "a table", value)
        return {str(key): _value(arguments[1], each, f"{where}.{key}") for key, each in value.items()}
    if is_dataclass(hint):
        return read_facts(hint, value, where)  # type: ignore[arg-type]  # a class, not an instance
    kind = str if origin is Literal else hint
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _wrong(where, _PLAIN[kind], value)
    return value


def _wrong(where: str, expected: str, value: Any) -> TraceError:
    return TraceError(f"{where} of the manifest should be {expected}, got {str(value)[:40]!r}")
