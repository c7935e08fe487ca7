"""Typed access to config.json, so that a wrong value is one sentence and never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracing.errors import CheckpointError


def _value(config: Mapping[str, Any], key: str, default: Any, kinds: Any, should_be: str) -> Any:
    """Return a value of a config, the default in place of null; `bool` counts as no number."""
    value = config.get(key)
    value = default if value is None else value
    is_flag = isinstance(value, bool)
    if is_flag != (kinds is bool) or not isinstance(value, kinds) or not (is_flag or value > 0):
        raise CheckpointError(f"config.json: {key} should be {should_be}, got {value!r}")
    return value


def whole(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """Return a positive integer of a config.

    Raises:
        CheckpointError: Missing without a default, not an integer, or not positive.
    """
    return int(_value(config, key, default, int, "a positive integer"))


def real(config: Mapping[str, Any], key: str, default: float) -> float:
    """Return a positive number of a config.

    Raises:
        CheckpointError: Not a number, or not positive.
    """
    return float(_value(config, key, default, int | float, "a positive number"))


def flag(config: Mapping[str, Any], key: str, default: bool = False) -> bool:
    """Return a boolean of a config; null is the default.

    Raises:
        CheckpointError: Not a boolean.
    """
    return bool(_value(config, key, default, bool, "true or false"))


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
