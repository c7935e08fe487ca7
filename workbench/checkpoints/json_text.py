"""JSON of strangers: bounded in size, depth and digits, without doubled keys, NaN or a byte order mark."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from tracing.errors import CheckpointError

MAX_BYTES: Final = 4 << 20
"""Of a configuration; `tokenizer.json` and an index of shards may be larger."""
MAX_DEPTH: Final = 64
MAX_CONTAINERS, MAX_ITEMS = 2_000_000, 8_000_000
"""What a parser makes of a byte is up to thirty times larger; real vocabularies stay far below."""
MAX_DIGITS: Final = 40
BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


class _RefusedError(ValueError):
    """Something that JSON, or every reader of these files, does not have."""


def parse_object(data: bytes, name: str, *, most_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Parse a JSON object out of bytes; takes time and memory in proportion to `most_bytes`.

    Args:
        data: The text.
        name: What the sentence of an error calls it.
        most_bytes: More is refused unread.

    Raises:
        CheckpointError: Not a JSON object in UTF-8, or beyond the bounds of this module.
    """
    if len(data) > most_bytes:
        raise CheckpointError(f"{name} is larger than {most_bytes:,} bytes, which no such file needs")
    if data.startswith(BYTE_ORDER_MARKS):
        raise CheckpointError(f"{name} starts with a byte order mark; save it as plain UTF-8")
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS or data.count(b",") > MAX_ITEMS:
        raise CheckpointError(f"{name} holds more than {MAX_ITEMS:,} items, which no such file needs")
    value = _parsed(data, name)
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} should hold a JSON object, got {type(value).__name__}")
    _refuse_depth(value, name)
    return value


def _parsed(data: bytes, name: str) -> object:
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_int=_whole,
            parse_float=_real,
            parse_constant=_constant,
            object_pairs_hook=_once,
        )
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{name} cannot be read as text: {error.reason} at byte {error.start}"
        ) from None
    except RecursionError:
        raise CheckpointError(f"{name} is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{name} is not valid JSON: {error}") from None
    except _RefusedError as error:
        raise CheckpointError(f"{name} {error}") from None


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _RefusedError(f"holds a number of {len(text):,} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text) if len(text) <= 16 * MAX_DIGITS else math.inf
    if not math.isfinite(value):
        raise _RefusedError(f"holds a number that no float can hold, {shown(text)}")
    return value


def _constant(text: str) -> object:
    raise _RefusedError(f"holds {text}, which is no JSON number")


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        doubled = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add gives None
        raise _RefusedError(f"holds the key {shown(doubled)} twice; readers differ in which one counts")
    return value


def _refuse_depth(value: dict[str, Any], name: str) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for holder in level
            for child in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise CheckpointError(f"{name} is nested deeper than {MAX_DEPTH} levels")


def shown(value: object, limit: int = 80) -> str:
    """Return a value of a stranger's file as it may stand in a sentence: one line, printable, short."""
    if isinstance(value, str | bytes):
        text = repr(value[: limit + 1])
    elif isinstance(value, list | tuple):
        items = [shown(item, 20) for item in value[:12]]
        text = f"[{', '.join([*items, '...'] if len(value) > 12 else items)}]"
    elif isinstance(value, dict):
        pairs = [f"{shown(key, 20)}: {shown(item, 20)}" for key, item in list(value.items())[:4]]
        text = f"{{{', '.join([*pairs, '...'] if len(value) > 4 else pairs)}}}"
    else:
        text = repr(value)
    return text if len(text) <= limit + 8 else text[:limit] + "..."
