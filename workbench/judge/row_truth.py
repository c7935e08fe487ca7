"""Rows of floats as the judge compares them: the path's values, the truth and its samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from tracing.models import Experts
from tracing.stages import IntArray
from workbench.judge.typical import Typical

Array = NDArray[Any]
"""Floats of any width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTruth:
    """One float quantity, row by row: the tested path's values, the truth, and what the dtype alone costs.

    All arrays are `[R, W]` (logits, features; `[W]` is one row), `[layers, R, W]` (logits of routers), or
    `[layers, 2, kv_heads, R, D]` (K and V).

    Attributes:
        fused: The tested path's values, or None where the path cannot give them.
        truth: The reference one precision above the path: float64 for float32, else float32 or wider.
        samples: Results of the reference at the tested path's dtype, in other ways; without one, not checked.
        rows: int `[R]`, the node (or position) each row belongs to; None means `0 .. R-1`.
        arbiter: Row (as in `rows`) to its value on the replay rung, `[W]` or `[layers, 2, kv_heads, D]`.
        typical: Typical errors of a sample; `truth` is then the sample itself, and rows are held against it.
    """

    fused: Array | None = None
    truth: Array | None = None
    samples: tuple[Array, ...] = ()
    rows: IntArray | None = None
    arbiter: Mapping[int, Array] = field(default_factory=dict)
    typical: Typical | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTruth:
    """Which experts worked on the rows of a forward. The reference ran on the path's own where it gives them.

    Attributes:
        experts: How many, in how many groups.
        logits: Of the routers, `[layers, R, num_experts]`; the path's own may be None.
        expert_ids: The path's experts, `[layers, R, num_groups]` in any order, or None.
        others: Logits of earlier rows whose experts the path does not give, or None.
    """

    experts: Experts
    logits: RowTruth
    expert_ids: IntArray | None = None
    others: RowTruth | None = None
