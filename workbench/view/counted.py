"""Numbers with their nouns, in the singular or the plural."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return e.g. `1 step` or `7 steps`; `plural` for a noun whose plural is not made with an s."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
