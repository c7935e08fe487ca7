"""Floating point numbers as words: sign, exponent and mantissa of the three dtypes that weights have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import UsageError

Words = NDArray[Any]
"""uint16 or uint32, one element each."""
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """How an element is laid out in its word: sign, exponent, mantissa, from the highest bit down.

    Attributes:
        name: As torch names the dtype.
        code: Number of the dtype in a header.
        num_bytes: Bytes of an element.
        exponent_bits, mantissa_bits: Widths of the two fields.
    """

    name: str
    code: int
    num_bytes: int
    exponent_bits: int
    mantissa_bits: int

    @property
    def word(self) -> np.dtype[Any]:
        """Return the little-endian word of an element."""
        return np.dtype(f"<u{self.num_bytes}")

    @property
    def largest_exponent(self) -> int:
        """Return the exponent of infinities and NaN."""
        return int((1 << self.exponent_bits) - 1)

    @property
    def raw_bits(self) -> int:
        """Return the bits of an element that are stored as they are: sign and mantissa."""
        return 1 + self.mantissa_bits

    def exponents(self, words: Words) -> Bytes:
        """Return the biased exponent of each element, uint8, in the shape of `words`."""
        shifted = words >> words.dtype.type(self.mantissa_bits)
        shifted &= words.dtype.type(self.largest_exponent)
        exponents: Bytes = shifted.astype(np.uint8)
        return exponents

    def words(self, data: bytes | memoryview | Bytes) -> Words:
        """Return bytes as words.

        Raises:
            UsageError: Their number is no multiple of an element's.
        """
        view = np.frombuffer(data, np.uint8)
        if view.size % self.num_bytes:
            raise UsageError(
                f"{view.size:,} bytes are no whole number of {self.name} elements of {self.num_bytes} bytes"
            )
        return view.view(self.word)


BFLOAT16: Final = FloatFormat("bfloat16", 0, 2, 8, 7)
FLOAT16: Final = FloatFormat("float16", 1, 2, 5, 10)
FLOAT32: Final = FloatFormat("float32", 2, 4, 8, 23)
FORMATS: Final[Mapping[str, FloatFormat]] = {each.name: each for each in (BFLOAT16, FLOAT16, FLOAT32)}
FORMAT_OF_CODE: Final[Mapping[int, FloatFormat]] = {each.code: each for each in FORMATS.values()}
