"""How unevenly the rows of a launch fall on devices that hold groups of experts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def imbalance(loads: ArrayLike, num_groups: int, num_rows: int) -> float:
    """Return the imbalance score of a layer: busiest less idlest device, over the rows of the launch.

    Args:
        loads: Rows of the launch that each expert got, `[experts]`.
        num_groups: Devices, each with as many neighbouring experts.
        num_rows: Of the launch.

    Returns:
        0 where all devices have as much to do; 0 for no rows.

    Source: arXiv 2505.21411, section on grouped experts.
    """
    by_device = np.asarray(loads, dtype=np.int64).reshape(num_groups, -1).sum(axis=1)
    return float(by_device.max() - by_device.min()) / num_rows if num_rows else 0.0
