"""Columns of experts, which a trace stores flat, in their axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def ids_by_layer(expert_ids: Any, num_nodes: int, per_node: int) -> Ids | None:
    """Return experts by layer and node, -1 where null, `[M, N, E]`; None for another number of them.

    Args:
        expert_ids: As recorded, in any shape.
        num_nodes: N.
        per_node: E.
    """
    flat = _flat(expert_ids)
    if flat is None or not num_nodes or not per_node or not flat.size or flat.size % (num_nodes * per_node):
        return None
    return flat.reshape(-1, num_nodes, per_node)


def loads_by_layer(expert_loads: Any, num_experts: int) -> Ids | None:
    """Return rows that each expert got by layer, `[M, X]`; None for another number of them.

    Args:
        expert_loads: As recorded, in any shape.
        num_experts: X.
    """
    flat = _flat(expert_loads)
    if flat is None or not num_experts or not flat.size or flat.size % num_experts:
        return None
    return flat.reshape(-1, num_experts)


def _flat(value: Any) -> Ids | None:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        return None
    return np.asarray(np.ma.filled(value, -1), dtype=np.int64).ravel()
