"""Time of a candidate beside plain torch on the same call, and what the machine itself can do.

Both are called in turn, in changing order, and compared pair by pair: what else runs on the machine then hits
both. Limits are measured in the same process: bandwidth by copying, arithmetic by a matrix product.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import torch

from workbench.kernels.kernel import Arguments, Kernel, Order, clone, traffic

WARM_UP: Final = 3
MOST_PAIRS: Final = 200
LEAST_PAIRS: Final = 5
COPIED: Final = 1 << 25
"""Bytes of the copy that measures bandwidth."""
SIDE: Final = 1024
"""Side of the matrix product that measures arithmetic."""


def timed(
    kernel: Kernel, candidate: Callable[..., Any], arguments: Arguments, device: str, seconds: float
) -> dict[str, Any]:
    """Return times and limits of one call, plain data.

    Args:
        kernel: The operator.
        candidate: Takes the arguments by name.
        arguments: On the host.
        device: Where the calls run.
        seconds: For all pairs together.
    """
    moved = traffic(kernel, arguments, kernel.truth(arguments))
    given = clone(arguments, device)  # arguments that are written stay legal: they are written again
    plain = partial(kernel.reference, clone(arguments, device), Order(device=device))
    measured = paired((partial(candidate, **given), plain), device, seconds)
    bandwidth, arithmetic = bandwidth_of(device), arithmetic_of(device, moved.dtype)
    own = measured["seconds"]
    return measured | {
        "bytes_read": moved.read,
        "bytes_written": moved.written,
        "operations": moved.operations,
        "bandwidth": bandwidth,
        "arithmetic": arithmetic,
        "bandwidth_share": moved.num_bytes / bandwidth / own,
        "arithmetic_share": moved.operations / arithmetic / own,
    }


def paired(sides: tuple[Callable[[], Any], Callable[[], Any]], device: str, seconds: float) -> dict[str, Any]:
    """Time two functions in turn and compare them pair by pair.

    Returns:
        Median seconds of both, the median of their ratio (second over first) with its quartiles, and the
        number of pairs.
    """
    for side in sides:
        for _ in range(WARM_UP):
            once(side, device)
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(pairs) < LEAST_PAIRS or (time.perf_counter() < end and len(pairs) < MOST_PAIRS):
        taken = [0.0, 0.0]
        for number in (0, 1) if len(pairs) % 2 else (1, 0):
            taken[number] = once(sides[number], device)
        pairs.append((taken[0], taken[1]))
    ratios = sorted(other / own for own, other in pairs)
    return {
        "seconds": statistics.median(pair[0] for pair in pairs),
        "reference_seconds": statistics.median(pair[1] for pair in pairs),
        "speedup": statistics.median(ratios),
        "speedup_low": ratios[len(ratios) // 4],
        "speedup_high": ratios[len(ratios) * 3 // 4],
        "pairs": len(pairs),
    }


def once(function: Callable[[], Any], device: str) -> float:
    """Return the seconds of one call, the device's work included."""
    synchronise(device)
    start = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given; the host has."""
    kind = torch.device(device).type
    if kind != "cpu":
        getattr(torch, kind).synchronize()


@cache
def bandwidth_of(device: str) -> float:
    """Return bytes per second, read and written, of copies that no cache holds."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / min(once(partial(target.copy_, source), device) for _ in range(7))


@cache
def arithmetic_of(device: str, dtype: torch.dtype) -> float:
    """Return operations per second of a square matrix product; halves on a host are done in float32."""
    kind = torch.float32 if torch.device(device).type == "cpu" or not dtype.is_floating_point else dtype
    side = torch.ones(SIDE, SIDE, dtype=kind, device=device)
    return float(2 * SIDE**3) / min(once(partial(torch.matmul, side, side), device) for _ in range(5))
