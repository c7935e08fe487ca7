"""ENEC's parameters: which exponents they can represent, and the published search for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError
from workbench.weights.floats import Bytes, FloatFormat
from workbench.weights.folding import PACKED_BITS

GROUP: Final = 16
"""Elements that share a bit of the mask."""
MAX_BITS: Final = 8
MASK_BITS: Final = 1 / GROUP
"""Bits of the mask for each element."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How exponents become small numbers: `(base - exponent) mod 2 ** num_bits`.

    Attributes:
        base: The exponent that becomes 0; b in the paper.
        num_bits: Bits of a number; n in the paper.
        low_bits: Its bits that every element stores, m in the paper; a group in which one number needs more
            stores the rest of all its numbers.
    """

    base: int
    num_bits: int
    low_bits: int

    def __post_init__(self) -> None:
        if not 0 <= self.base <= 255 or not 1 <= self.low_bits <= self.num_bits <= MAX_BITS:
            raise UsageError(
                f"ENEC parameters should be b from 0 to 255 and 1 <= m <= n <= {MAX_BITS}, got {self}"
            )
        if self.low_bits not in PACKED_BITS or self.high_bits not in PACKED_BITS:
            raise UsageError(f"ENEC packs 1 to 4 low bits and at most 4 high ones, got {self}")

    def __str__(self) -> str:
        return f"b {self.base}, n {self.num_bits}, m {self.low_bits}"

    @property
    def high_bits(self) -> int:
        """Return the bits beyond the low ones, n - m."""
        return self.num_bits - self.low_bits

    @property
    def least(self) -> int:
        """Return the smallest exponent that is represented; may be negative."""
        return self.base - (1 << (self.num_bits - 1)) + 1

    @property
    def most(self) -> int:
        """Return the largest exponent that is represented; may exceed every exponent."""
        return self.base + (1 << (self.num_bits - 1))

    def numbers(self, exponents: Bytes) -> Bytes:
        """Return the number of each exponent, uint8; wrong without a sign of it for one out of range."""
        return (np.uint8(self.base) - exponents) & np.uint8((1 << self.num_bits) - 1)

    def exponents(self, numbers: Bytes) -> NDArray[np.int16]:
        """Return the exponent of each number; outside a byte only in a stream that was damaged on writing."""
        sign = np.int16(1 << (self.num_bits - 1))
        signed = (numbers.astype(np.int16) ^ sign) - sign
        return np.int16(self.base) - signed

    def represents(self, exponents: Bytes) -> bool:
        """Return whether every exponent comes back."""
        return exponents.size == 0 or (
            self.least <= int(exponents.min()) and int(exponents.max()) <= self.most
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What the published search answers.

    Attributes:
        base, num_bits, low_bits: See `Parameters`; not always a set that can be packed.
        group: Elements in a group; 1 for a tensor of one exponent, for which no kernel is published.
        mean_bits: Bits for an exponent that the search expects; infinite where it found no low bits.
    """

    base: int
    num_bits: int
    low_bits: int
    group: int
    mean_bits: float


def parse_parameters(text: str) -> Parameters:
    """Read `B,N,M`.

    Raises:
        UsageError: Something else.
    """
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and len(part.strip()) < 4 for part in parts):
        raise UsageError(f"ENEC parameters should be B,N,M, for example 122,6,3, got {text!r}")
    base, num_bits, low_bits = map(int, parts)
    return Parameters(base, num_bits, low_bits)


def histogram(exponents: Bytes, layout: FloatFormat) -> NDArray[np.int64]:
    """Return how often each exponent occurs, int64 `[largest + 1]`."""
    return np.bincount(exponents.reshape(-1), minlength=layout.largest_exponent + 1).astype(np.int64)


def search(counts: NDArray[np.int64]) -> Found:
    """Search parameters for a tensor as the published tool does, its oddities included.

    Args:
        counts: Of each exponent, int64 `[E]`.

    Raises:
        UsageError: There is no element, or no base fits the range in 8 bits.
    """
    present = np.flatnonzero(counts)
    if not present.size:
        raise UsageError("a tensor without elements has no ENEC parameters")
    least, most = int(present[0]), int(present[-1])
    if least == most:
        return Found(least, 1, 1, 1, 1.0)
    has_one_peak = _descents(counts[least : most + 1]) < 2
    best = _best_base(counts, present, _bases(counts, least, most, has_one_peak), stops_rising=has_one_peak)
    if best is None:
        raise UsageError(f"no ENEC base represents the exponents {least} to {most} in {MAX_BITS} bits")
    low_bits, mean_bits = _best_low_bits(counts, present, *best, stops_rising=has_one_peak)
    return Found(*best, low_bits, GROUP, mean_bits)


def _descents(counts: NDArray[np.int64]) -> int:
    """Return how often the next exponent is rarer; the published tool calls two of them several peaks."""
    shares = counts / counts.sum()
    return int((shares[:-1] > shares[1:] + 1e-7).sum())


def _bases(counts: NDArray[np.int64], least: int, most: int, has_one_peak: bool) -> range:
    """Return the bases that are tried."""
    if not has_one_peak:
        return range(least + 1, most)
    mode = int(counts.argmax())
    first, last = max(mode, least + 1), min(mode + 7, most - 1)
    if first > last:
        first = last = (least + most) // 2
    return range(first, last + 1)


def _best_base(
    counts: NDArray[np.int64], present: NDArray[Any], bases: range, *, stops_rising: bool
) -> tuple[int, int] | None:
    """Return the base with the smallest mean number, and its bits."""
    least, most = int(present[0]), int(present[-1])
    best: tuple[int, int] | None = None
    smallest: int | None = None
    for base in bases:
        num_bits = max((base - least).bit_length(), max(most - base - 1, 0).bit_length()) + 1
        if num_bits > MAX_BITS:
            continue
        total = int((counts[present] * ((base - present) % (1 << num_bits))).sum())
        if smallest is None or total < smallest:
            smallest, best = total, (base, num_bits)
        elif total > smallest and stops_rising:
            break
    return best


def _best_low_bits(
    counts: NDArray[np.int64], present: NDArray[Any], base: int, num_bits: int, *, stops_rising: bool
) -> tuple[int, float]:
    """Return m with the smallest expected bits of an exponent, and these bits."""
    best, smallest = 1, math.inf
    shares = counts[present].astype(np.float32) / np.float32(counts.sum())  # as the published tool sums them
    numbers = (base - present) % (1 << num_bits)
    for low_bits in range(1, num_bits):
        bits = expected_bits(num_bits, low_bits, float(shares[numbers < (1 << low_bits)].sum()))
        if bits < smallest:
            best, smallest = low_bits, bits
        elif stops_rising:
            break
    return best, smallest


def expected_bits(num_bits: int, low_bits: int, low_share: float) -> float:
    """Return the mean bits of an exponent if elements were independent.

    Args:
        num_bits: Bits of a number.
        low_bits: Bits that every number stores.
        low_share: Share of elements whose number fits the low bits.
    """
    return float(MASK_BITS + num_bits + (low_bits - num_bits) * low_share**GROUP)
