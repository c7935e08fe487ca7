"""Inputs for readers: bytes that were damaged, and JSON that was forged."""

from __future__ import annotations

import json
import random
from typing import Any, Final

_ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2, 63, 64, 65, 255, 1 << 31, -(1 << 31), 1 << 40, (1 << 63) - 1, 1 << 63,
    1 << 64, -(1 << 70), 0.5, -0.0, 1e308, "", "a", "fused",
    "../x", "/etc/passwd", "\x1b[31m", "\u202e", "\ud800",
    "1.1", "2.0", "0" * 8, "running", [], [[]], [0], [1, 2, 3], [0, False, [0], 4], {}, {"a": 1}, [None],
    "x" * 300,
)  # fmt: skip


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return bytes that were flipped, cut, doubled, moved, or overwritten with noise, once or a few times."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        if not changed:
            return b""
        at = chance.randrange(len(changed))
        size = min(len(changed) - at, chance.choice((1, 1, 4, 8, 40)))
        way = chance.randrange(6)
        if way == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            changed[at : at + size] = chance.randbytes(size)
        elif way == 2:
            del changed[at : at + size]
        elif way == 3:
            changed[at:at] = changed[at : at + size]
        elif way == 4:
            changed[at : at + size] = chance.choice((b"\0", b"\xff", b"\x7f")) * size
        else:
            del changed[at:]
    return bytes(changed)


def odd(chance: random.Random) -> Any:
    """Return a value that a reader may not expect."""
    value = chance.choice(_ODD)
    if chance.random() < 0.05:
        for _ in range(chance.choice((3, 70))):
            value = [value]
    return value


def forged(value: Any, chance: random.Random) -> Any:
    """Return JSON data in which some values, keys or items were replaced, added or left out."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        value = _forged_once(value, chance)
    return value


def _forged_once(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.9:
        return _forged_object(value, chance)
    if isinstance(value, list) and value and chance.random() < 0.8:
        return _forged_list(value, chance)
    if type(value) is int and chance.random() < 0.4:
        return value + chance.choice((-1, 1, 1 << 16, 1 << 32))
    return odd(chance)


def _forged_object(value: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    key, way = chance.choice(list(value)), chance.randrange(8)
    if way == 0:
        return {name: each for name, each in value.items() if name != key}
    if way == 1:
        return {**value, str(odd(chance))[:20]: odd(chance)}
    return {**value, key: _forged_once(value[key], chance)}


def _forged_list(value: list[Any], chance: random.Random) -> list[Any]:
    at, way = chance.randrange(len(value)), chance.randrange(6)
    if way == 0:
        return value[:at] + value[at + 1 :]
    if way == 1:
        return value[:at] + [value[at]] * 2 + value[at + 1 :]
    return [*value[:at], _forged_once(value[at], chance), *value[at + 1 :]]


def as_text(value: Any) -> bytes:
    """Return JSON text of anything, lone surrogates included."""
    return json.dumps(value).encode("utf-8", "replace")
