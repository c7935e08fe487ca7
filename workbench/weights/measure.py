"""Size and speed of a codec beside zstd and lz4, on the same bytes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

RIVALS: Final = (("lz4", None), ("zstd", 1), ("zstd", 19))
"""Codecs of pyarrow, with their levels."""
REPEATS: Final = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """One codec on one piece of data.

    Attributes:
        ratio: Original bytes over coded bytes.
        encode, decode: Original megabytes a second of processor time, medians; encode is None where it was
            not timed.
    """

    codec: str
    ratio: float
    encode: float | None
    decode: float


def timed(run: Callable[[], object], num_bytes: int, repeats: int = REPEATS) -> float:
    """Return megabytes a second of processor time: the median of a few runs after one to warm up."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return num_bytes / max(statistics.median(taken), 1e-9) / 1e6


def rivals(data: bytes) -> list[Speed]:
    """Return zstd and lz4 on some bytes; zstd -19 is encoded once, as it is slow."""
    import pyarrow as pa

    found = []
    for codec_name, level in RIVALS:
        codec = pa.Codec(codec_name, compression_level=level)
        coded = codec.compress(data, asbytes=True)
        encode = None if level == RIVALS[-1][1] else timed(lambda: codec.compress(data), len(data), 2)  # noqa: B023  run at once
        decode = timed(lambda: codec.decompress(coded, len(data)), len(data))  # noqa: B023  run at once
        name = codec_name if level is None else f"{codec_name} -{level}"
        found.append(Speed(name, len(data) / len(coded), encode, decode))
    return found
