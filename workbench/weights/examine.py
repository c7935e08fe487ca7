"""What a published ENEC stream lost, as far as the stream, its parameters and the original can tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tracing.errors import UsageError
from workbench.weights import published
from workbench.weights.floats import FloatFormat, Words
from workbench.weights.folding import PACKED_BITS
from workbench.weights.parameters import MAX_BITS, Parameters


@dataclass(slots=True)
class StreamExamination:
    """What was found in a published stream.

    Attributes:
        header: What it states.
        fits: Every (n, m) that its sizes, masks and prefix table agree with; the stream states neither.
        losses: What is lost, one sentence each.
        unknown: What could not be decided, one sentence each.
    """

    header: published.Header
    fits: list[tuple[int, int]]
    losses: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Return 1 if something is lost, else 4 if something could not be decided, else 0."""
        return 1 if self.losses else 4 if self.unknown else 0


def examine(
    stream: bytes, parameters: Parameters | None = None, original: Words | None = None
) -> StreamExamination:
    """Examine a stream.

    Args:
        stream: The whole stream.
        parameters: What its kernel was built for, if known.
        original: The elements that were encoded, if they are still there.

    Raises:
        UsageError: Not a published stream, or one that these parameters did not write.
    """
    header = published.read_header(stream)
    if header.overlaps:
        units = header.aligned_bytes // published.UNIT
        sentence = (
            f"float32 in {units} units of 32 KiB, an odd number: the regions of the last block overlap and "
            "its elements are damaged, whatever decodes it"
        )
        return StreamExamination(header, [], [sentence])
    found = StreamExamination(header, fitting(stream, header))
    if not found.fits:
        raise UsageError("masks and prefix table of the ENEC stream fit no n and m; it is damaged")
    if parameters is None and original is not None:
        parameters = matching(stream, header, found.fits, original)
    if parameters is None:
        which = ", ".join(f"n {n} m {m}" for n, m in found.fits)
        found.unknown.append(
            f"the stream does not state its parameters (its sizes fit {which}; b is unknown): give them, or "
            "the original"
        )
        return found
    words, layout, outside = published.read_stream(stream, parameters)
    if outside:
        found.losses.append(
            f"{outside:,} element(s) decode to an exponent that {layout.name} does not have: they were out "
            f"of range of {parameters} when they were written, as infinities and NaN are"
        )
    if original is None:
        found.unknown += list(_unseen(layout, parameters))
    else:
        found.losses += list(_differences(words, original, layout))
    return found


def fitting(stream: bytes, header: published.Header) -> list[tuple[int, int]]:
    """Return the (n, m) that the stream's own sizes agree with."""
    fits = []
    for low_bits in PACKED_BITS[1:]:
        places = published.regions(header, low_bits)
        if places.high[0] > header.stream_bytes:
            continue
        counts = published.core_counts(published.stream_mask(stream, places, header))
        prefix = np.frombuffer(stream, "<u4", published.CORES, places.prefix[0])
        for high_bits in PACKED_BITS:
            sizes = published.core_bytes(counts, high_bits)
            whole = int(sizes.sum()) == places.high[1] - places.high[0]
            starts = np.cumsum(sizes) - sizes
            if whole and np.array_equal(starts, prefix) and low_bits + high_bits <= MAX_BITS:
                fits.append((low_bits + high_bits, low_bits))
    return fits


def matching(
    stream: bytes, header: published.Header, fits: list[tuple[int, int]], original: Words
) -> Parameters | None:
    """Return the parameters that explain most of an original's elements; None if none explains any."""
    exponents = header.layout.exponents(original).astype(np.int64)
    best, most = None, 0
    for num_bits, low_bits in fits:
        words, _, _ = published.read_stream(stream, Parameters(0, num_bits, low_bits))
        if words.shape != exponents.shape:
            return None
        negative = (exponents - header.layout.exponents(words)) % (1 << num_bits)
        bases = np.bincount(negative, minlength=1)  # exponent = base - signed number, modulo 2 ** n
        residue = int(bases.argmax())
        for base in range(residue, 256, 1 << num_bits):
            parameters = Parameters(base, num_bits, low_bits)
            equal = int((published.read_stream(stream, parameters)[0] == original).sum())
            if equal > most:
                best, most = parameters, equal
    return best


def _unseen(layout: FloatFormat, parameters: Parameters) -> Iterator[str]:
    """Yield what the original may have held and the stream cannot show to be lost."""
    values = {"zeros and denormals": 0, "infinities and NaN": layout.largest_exponent}
    lost = [what for what, exponent in values.items() if not parameters.least <= exponent <= parameters.most]
    if lost:
        yield (
            f"{parameters} represents exponents {parameters.least} to {parameters.most}: "
            f"{' and '.join(lost)} would have come back as other numbers, which the stream cannot show; "
            "give the original"
        )


def _differences(words: Words, original: Words, layout: FloatFormat) -> Iterator[str]:
    """Yield one sentence for each kind of value that did not come back."""
    if words.shape != original.shape:
        yield f"the stream holds {words.size:,} elements, the original {original.size:,}"
        return
    different = np.flatnonzero(words != original)
    exponents = layout.exponents(original[different])
    mantissas = original[different] & original.dtype.type((1 << layout.mantissa_bits) - 1)
    top = exponents == layout.largest_exponent
    kinds = {
        "zero": (exponents == 0) & (mantissas == 0),
        "denormal": (exponents == 0) & (mantissas != 0),
        "infinity": top & (mantissas == 0),
        "NaN": top & (mantissas != 0),
        "ordinary": (exponents != 0) & ~top,
    }
    for kind, which in kinds.items():
        places = different[which]
        if places.size:
            first = int(places[0])
            width = 2 * layout.num_bytes
            yield (
                f"{places.size:,} {kind} value(s) lost, the first at element {first}: "
                f"{int(original[first]):0{width}x} came back as {int(words[first]):0{width}x}"
            )
