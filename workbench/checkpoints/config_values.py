"""Typed access to config.json, so that a wrong value is one sentence and never a traceback."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from tracing.errors import CheckpointError
from workbench.checkpoints.json_text import shown

MAX_WHOLE: Final = 1 << 31
"""No size, count or id of a model is larger."""
MAX_REAL: Final = 1e12
"""No frequency base, factor or epsilon is larger; the rotary tables hold their powers in single precision."""


def _value(config: Mapping[str, Any], key: str, default: Any, kinds: Any, should_be: str) -> Any:
    """Return a value of a config, the default in place of null; `bool` counts as no number."""
    value = config.get(key)
    value = default if value is None else value
    is_flag = isinstance(value, bool)
    if is_flag != (kinds is bool) or not isinstance(value, kinds) or not (is_flag or value > 0):
        raise CheckpointError(f"config.json: {key} should be {should_be}, got {shown(value)}")
    return value


def whole(config: Mapping[str, Any], key: str, default: int | None = None, *, most: int = MAX_WHOLE) -> int:
    """Return a positive integer of a config, at most `most`.

    Raises:
        CheckpointError: Missing without a default, not an integer, not positive, or too large.
    """
    value = int(_value(config, key, default, int, "a positive integer"))
    if value > most:
        raise CheckpointError(f"config.json: {key} should be at most {most}, got {shown(value)}")
    return value


def real(config: Mapping[str, Any], key: str, default: float, *, most: float = MAX_REAL) -> float:
    """Return a positive number of a config, at most `most`.

    Raises:
        CheckpointError: Not a number, not positive, or too large.
    """
    value = _value(config, key, default, int | float, "a positive number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not number <= most:
        raise CheckpointError(f"config.json: {key} should be at most {most:g}, got {shown(value)}")
    return number


def flag(config: Mapping[str, Any], key: str, default: bool = False) -> bool:
    """Return a boolean of a config; null is the default.

    Raises:
        CheckpointError: Not a boolean.
    """
    return bool(_value(config, key, default, bool, "true or false"))


def block(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object of a config; null and absence are an empty one.

    Raises:
        CheckpointError: Not an object.
    """
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"config.json: {key} should be an object or null, got {shown(value)}")
    return value


def names(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of words of a config; null and absence are an empty one.

    Raises:
        CheckpointError: Not a list of text.
    """
    value = config.get(key)
    value = [] if value is None else value
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise CheckpointError(f"config.json: {key} should be a list of names, got {shown(value)}")
    return tuple(value)


def head_layout(config: Mapping[str, Any], head_dim_default: int | None = None) -> tuple[int, int, int]:
    """Return (heads, kv heads, head dim) and check that they fit together.

    Raises:
        CheckpointError: Heads are not a multiple of kv heads, or the head dim is odd (no rotate-half).
    """
    num_heads = whole(config, "num_attention_heads")
    num_kv_heads = whole(config, "num_key_value_heads", num_heads)
    head_dim = whole(config, "head_dim", head_dim_default or whole(config, "hidden_size") // num_heads)
    if num_heads % num_kv_heads:
        raise CheckpointError(
            f"config.json: num_attention_heads {num_heads} is not a multiple of "
            f"num_key_value_heads {num_kv_heads}"
        )
    if head_dim % 2:
        raise CheckpointError(f"config.json: head_dim should be even for rotary embedding, got {head_dim}")
    return num_heads, num_kv_heads, head_dim
