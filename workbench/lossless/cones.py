"""Exponential draws of which only ratios were compared: exact, however often a draw is used again.

What independent exponential draws are relative to their sum is uniform on a simplex. A comparison of two of
them, each times a number, cuts it with a plane through the origin, and a cut simplex is made of simplices.
"""

from __future__ import annotations

from fractions import Fraction

from workbench.lossless.law import Number

Vertex = tuple[Fraction, ...]
Simplex = tuple[Fraction, tuple[Vertex, ...]]
"""Its share of the whole, and its corners, each one number a draw."""


def whole(size: int) -> list[Simplex]:
    """Return the simplex of this many draws of which nothing is known."""
    return [(Fraction(1), tuple(tuple(Fraction(int(i == j)) for j in range(size)) for i in range(size)))]


def crossed(parts: list[tuple[tuple[int, ...], list[Simplex]]], columns: tuple[int, ...]) -> list[Simplex]:
    """Return what is known when all parts are, each of draws of its own; corners in the order of `columns`.

    Args:
        parts: Numbers of draws in the order of the corners, and the simplices.
        columns: Numbers of all draws.
    """
    found: list[Simplex] = [(Fraction(1), ())]
    for draws, simplices in parts:
        places = [draws.index(number) if number in draws else None for number in columns]
        wide = [
            (
                share,
                tuple(tuple(Fraction(0) if i is None else corner[i] for i in places) for corner in corners),
            )
            for share, corners in simplices
        ]
        found = [(a * b, left + right) for a, left in found for b, right in wide]
    return found


def cut(
    simplices: list[Simplex], first: int, first_scale: Fraction, second: int, second_scale: Fraction
) -> tuple[list[Simplex], list[Simplex]]:
    """Return the parts where `first_scale * first < second_scale * second`, and the rest; by columns."""
    less: list[Simplex] = []
    rest: list[Simplex] = []
    left = list(simplices)
    while left:
        share, corners = left.pop()
        values = [first_scale * corner[first] - second_scale * corner[second] for corner in corners]
        low = next((i for i, value in enumerate(values) if value < 0), None)
        high = next((i for i, value in enumerate(values) if value > 0), None)
        if low is None or high is None:
            (rest if low is None else less).append((share, corners))
            continue
        part = values[high] / (values[high] - values[low])  # of the way from the high corner to the low one
        middle = tuple(h + part * (w - h) for h, w in zip(corners[high], corners[low], strict=True))
        left.append((share * (1 - part), (*corners[:high], *corners[high + 1 :], middle)))
        left.append((share * part, (*corners[:low], *corners[low + 1 :], middle)))
    return less, rest


def share_of(simplices: list[Simplex]) -> Number:
    """Return the sum of shares."""
    return sum((share for share, _ in simplices), Fraction(0))
