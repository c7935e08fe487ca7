"""Which path is at fault: each against a third, slower value of the same row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def agrees(left: NDArray[Any], right: NDArray[Any], allowance: float, allowance_rms: float = np.inf) -> bool:
    """Return whether two rows `[W]` are within the allowance of each other, in both norms; NaN never is."""
    error = np.asarray(left, dtype=np.float64).ravel() - np.asarray(right, dtype=np.float64).ravel()
    if not np.isfinite(error).all():
        return False
    rms = float(np.sqrt(np.mean(np.square(error))))
    return bool(np.abs(error).max() <= allowance and rms <= allowance_rms)


def guilty(
    fused: NDArray[Any],
    reference: NDArray[Any],
    arbiter: NDArray[Any] | None,
    allowance: float,
    allowance_rms: float = np.inf,
) -> str:
    """Return `fused`, `reference`, `both` or `unknown` for one row that the two paths disagree on.

    Args:
        fused: The fused value of the row, `[W]`.
        reference: The reference's value of it, `[W]`.
        arbiter: The replay rung's value of the row, `[W]`; None where no arbiter applies.
        allowance: The row's allowance for the largest error.
        allowance_rms: The row's allowance for the root-mean-square error.
    """
    if arbiter is None:
        return "unknown"
    fused_right = agrees(fused, arbiter, allowance, allowance_rms)
    reference_right = agrees(reference, arbiter, allowance, allowance_rms)
    if fused_right and reference_right:
        return "unknown"  # the arbiter lies between them: it cannot decide
    if fused_right:
        return "reference"
    return "fused" if reference_right else "both"
