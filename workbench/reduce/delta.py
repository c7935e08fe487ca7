"""Making a list or a number smaller while something stays; pure, and blind to what it is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")
Keeps = Callable[[Sequence[Item]], int | None]
"""Given candidates in order of preference, the place of the first that keeps what should stay."""


def smallest_list(
    items: tuple[Item, ...], keeps: Keeps[tuple[Item, ...]], least: int = 1
) -> tuple[Item, ...]:
    """Return a part of a list of which no single item can be left out (delta debugging).

    Args:
        items: The list; keeps what should stay.
        keeps: Asked about parts, in their order.
        least: Fewest items of a part.
    """
    pieces = 2
    while len(items) > least:
        pieces = min(pieces, len(items))
        bounds = [round(number * len(items) / pieces) for number in range(pieces + 1)]
        spans = [(start, stop) for start, stop in pairwise(bounds) if stop > start]
        alone = [items[start:stop] for start, stop in spans]
        without = [items[:start] + items[stop:] for start, stop in spans] if pieces > 2 else []
        candidates = [part for part in (*alone, *without) if least <= len(part) < len(items)]
        found = keeps(candidates) if candidates else None
        if found is not None:
            is_alone = candidates[found] in alone
            items, pieces = candidates[found], 2 if is_alone else max(pieces - 1, 2)
        elif pieces >= len(items):
            break
        else:
            pieces *= 2
    return items


def smallest_number(number: int, keeps: Keeps[int], least: int = 1, multiple: int = 1) -> int:
    """Return a small number that keeps what should stay: doubled from the least, then halved.

    Args:
        number: Keeps what should stay.
        keeps: Asked about smaller numbers.
        least: Smallest number there is; a multiple of `multiple`.
        multiple: Only multiples of this are asked about.
    """
    offsets = [0, *(multiple << power for power in range(number.bit_length()))]
    candidates = [least + offset for offset in offsets if least + offset < number]
    if not candidates:
        return number
    found, low = keeps(candidates), candidates[-1]
    if found is not None:
        number, low = candidates[found], candidates[max(found - 1, 0)]
    while number - low > multiple:
        middle = low + (number - low) // 2 // multiple * multiple
        if middle in (low, number):
            break
        if keeps([middle]) is not None:
            number = middle
        else:
            low = middle
    return number
