"""Parameters for a container, where a block may be stored as it is, and what coding cannot get below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.weights.container import BLOCK
from workbench.weights.floats import FloatFormat, Words
from workbench.weights.folding import PACKED_BITS
from workbench.weights.parameters import GROUP, MASK_BITS, MAX_BITS, Parameters, histogram


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bits of an element, sign and mantissa included.

    Attributes:
        entropy: Entropy of the exponents of the whole tensor: no code of single exponents gets below.
        model: What ENEC's code of groups should take if exponents were independent, for the parameters.
    """

    entropy: float
    model: float


def choose(words: Words, layout: FloatFormat) -> Parameters:
    """Return the parameters that should store a tensor in the fewest bits, raw blocks included."""
    exponents = layout.exponents(words.reshape(-1))
    if not exponents.size:
        return Parameters(layout.largest_exponent // 2, 1, 1)
    starts = np.arange(0, exponents.size, BLOCK)
    least = np.minimum.reduceat(exponents, starts).astype(np.int64)
    most = np.maximum.reduceat(exponents, starts).astype(np.int64)
    shares = histogram(exponents, layout) / exponents.size
    best, smallest = Parameters(0, 1, 1), float("inf")
    for num_bits in range(1, MAX_BITS + 1):
        numbers, fits = _by_base(num_bits, layout, least, most)
        for low_bits in range(max(1, num_bits - PACKED_BITS[-1]), min(num_bits, PACKED_BITS[-1]) + 1):
            low_share = ((numbers < (1 << low_bits)) * shares).sum(-1).clip(0, 1)
            grouped = MASK_BITS + num_bits + (low_bits - num_bits) * low_share**GROUP
            bits = fits * grouped + (1 - fits) * layout.exponent_bits
            base = int(bits.argmin())
            if bits[base] < smallest - 1e-9:
                best, smallest = Parameters(base, num_bits, low_bits), float(bits[base])
    return best


def _by_base(
    num_bits: int, layout: FloatFormat, least: NDArray[np.int64], most: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return, for every base, the number of each exponent and the share of blocks that are represented."""
    every = np.arange(layout.largest_exponent + 1)
    numbers = (every[:, None] - every) % (1 << num_bits)
    half = 1 << (num_bits - 1)
    fits = (least >= every[:, None] - half + 1) & (most <= every[:, None] + half)
    return numbers, fits.mean(-1)


def bounds(words: Words, layout: FloatFormat, parameters: Parameters) -> Bounds:
    """Return what a tensor could take."""
    counts = histogram(layout.exponents(words), layout)
    shares = counts[counts > 0] / max(counts.sum(), 1)
    numbers = (parameters.base - np.flatnonzero(counts)) % (1 << parameters.num_bits)
    low_share = float(shares[numbers < (1 << parameters.low_bits)].sum())
    grouped = MASK_BITS + parameters.num_bits - parameters.high_bits * min(low_share, 1.0) ** GROUP
    entropy = float(-(shares * np.log2(shares)).sum())
    return Bounds(layout.raw_bits + entropy, layout.raw_bits + grouped)
