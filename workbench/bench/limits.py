"""What the machine allows at most: the teacher's weights over memory's speed, and its products alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch

from workbench.bench.tables import Cell, Table
from workbench.fused.engine import Engine

LIMITS: Final = "limits"
"""Manifest entry of what was measured here."""
_READ_BYTES: Final = 2**28
"""Large beside any cache."""
_ROUNDS: Final = 9


def measure_limits(engine: Engine, tree_nodes: int) -> dict[str, float]:
    """Measure with the products of an engine, at one row and at those of a tree; the best of some rounds.

    Args:
        engine: Its teacher's products, in the storage that they have.
        tree_nodes: Rows of a verification.

    Returns:
        Bytes of the teacher's weights, bytes a second that a sum over memory reads, and seconds of one pass
        of all its products.
    """
    products = engine.teacher.products
    memory = torch.ones(_READ_BYTES // 4, device=engine.device)

    def passes(num_rows: int) -> Callable[[], Any]:
        rows = [
            torch.ones(1, num_rows, each.shape[1], dtype=engine.dtype, device=engine.device)
            for each in products
        ]
        return lambda: [product(given) for product, given in zip(products, rows, strict=True)]

    with torch.inference_mode():
        return {
            "weight_bytes": float(sum(each.nbytes for each in products)),
            "bytes_per_second": _READ_BYTES / _best(lambda: float(memory.sum())),
            "one_row_seconds": _best(passes(1)),
            "tree_seconds": _best(passes(tree_nodes)),
            "tree_nodes": float(tree_nodes),
        }


def _best(run: Callable[[], Any]) -> float:
    """Return the least seconds of some rounds; what disturbs only ever adds."""
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def limits_table(limits: Mapping[str, float], speeds: Mapping[str, Sequence[float]]) -> Table:
    """Return the limits beside what our own decoding reaches.

    Args:
        limits: As measured.
        speeds: Of `greedy` and `speculative`: tokens a second behind the first, and tokens a step.
    """
    rows: list[tuple[Cell, ...]] = []
    read = limits["weight_bytes"] / limits["bytes_per_second"]
    bounds = {
        "greedy": (("weights read once", read), ("products alone, 1 row", limits["one_row_seconds"])),
        "speculative": (
            ("weights read once", read),
            (f"products alone, {limits['tree_nodes']:.0f} rows", limits["tree_seconds"]),
        ),
    }
    for side, (tokens_per_second, tokens_per_step) in speeds.items():
        for name, seconds in bounds[side]:
            most = tokens_per_step / seconds
            rows.append((side, name, 1e3 * seconds, most, tokens_per_second, tokens_per_second / most))
    note = (
        f"weights of the teacher's products {limits['weight_bytes'] / 1e6:.1f} MB, memory read at "
        f"{limits['bytes_per_second'] / 1e9:.1f} GB/s in a sum; what the CPU's cache holds is read faster. "
        "Draft, attention and all else are on top"
    )
    return Table(
        "Limits",
        ("ours", "limit", "ms a step", "tok/s at most", "tok/s behind the first", "share"),
        tuple(rows),
        note,
    )
