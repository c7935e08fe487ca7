"""How far back the drafter looks: distances to the most attended key, in buckets, by head and by depth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.distances import DEFAULT_EDGES
from workbench.view.lines import Line, Lines, Role, Span, note
from workbench.view.panel import Panel
from workbench.view.step import StepView, ViewOptions

Counts = NDArray[np.int64]
LABEL: Final = 9
MIN_CELL: Final = 6
BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def bucket_names(edges: Sequence[int]) -> tuple[str, ...]:
    """Return `0`, `1`, `2_3`, ..., `256_plus` for lower edges 0, 1, 2, 4, ..., 256."""
    names = [str(low) if high == low + 1 else f"{low}_{high - 1}" for low, high in itertools.pairwise(edges)]
    return (*names, f"{edges[-1]}_plus")


@dataclass(slots=True)
class DistanceTable:
    """Counted distances; grows step by step.

    Attributes:
        edges: Lower edges of the buckets, ascending.
        by_head: int64 `[H, buckets]`.
        by_depth: int64 `[depths, buckets]`, by depth of the node whose expansion was probed.
        num_steps: Steps counted.
        outside: Distances below the first edge; they are in no bucket.
    """

    edges: tuple[int, ...] = DEFAULT_EDGES
    by_head: Counts = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    by_depth: Counts = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    num_steps: int = 0
    outside: int = 0

    def add(self, offsets: NDArray[Any], depths: NDArray[Any] | None) -> None:
        """Count one step.

        Args:
            offsets: Distances `[N, H]`, masked where a node was never expanded.
            depths: Depth of each node `[N]`, or None where not recorded.
        """
        known = ~np.ma.getmaskarray(offsets)
        heads = np.broadcast_to(np.arange(offsets.shape[1]), offsets.shape)
        per_node = np.full(len(offsets), -1)
        if depths is not None and len(depths) == len(offsets):
            per_node = np.ma.filled(depths, -1)
        levels = np.broadcast_to(per_node[:, None], offsets.shape)
        self.add_flat(np.ma.getdata(offsets)[known], heads[known], levels[known])
        self.num_steps += 1

    def add_flat(self, offsets: NDArray[Any], heads: NDArray[Any], depths: NDArray[Any]) -> None:
        """Count distances one by one, `[M]` each; a depth below 0 is not recorded."""
        low = offsets < self.edges[0]
        self.outside += int(low.sum())
        buckets = np.searchsorted(np.asarray(self.edges), offsets, side="right") - 1
        self.by_head = self._count(self.by_head, heads[~low], buckets[~low])
        deep = ~low & (depths >= 0)
        self.by_depth = self._count(self.by_depth, depths[deep], buckets[deep])

    def _count(self, table: Counts, rows: NDArray[Any], buckets: NDArray[Any]) -> Counts:
        """Return the table with the pairs added, taller where a row is new."""
        num_buckets = len(self.edges)
        height = max(len(table), int(rows.max(initial=-1)) + 1)
        if height > 4096:  # a damaged depth must not ask for memory
            return table
        flat = np.bincount(rows * num_buckets + buckets, minlength=height * num_buckets)
        grown = flat.reshape(height, num_buckets).astype(np.int64)
        if table.size:
            grown[: len(table)] += table
        return grown

    @property
    def total(self) -> int:
        """Distances counted."""
        return int(self.by_head.sum())

    @property
    def far_share(self) -> float | None:
        """Share of the open last bucket, None where nothing was counted."""
        return float(self.by_head[:, -1].sum() / self.total) if self.total else None


def distance_lines(step: StepView, _options: ViewOptions) -> Lines:
    """Draw the buckets of the step, and of the run where they have been counted."""
    lines: list[Line] = []
    for side in step.sides:
        offsets, table = side.grid("draft_top1_offsets"), DistanceTable(step.edges)
        if offsets is None:
            lines.append(note(side.why_not("draft_top1_offsets"), "warn"))
        else:
            table.add(offsets, side.get("depths"))
            lines += table_lines(table, f"{side.label}, step {step.moment}")
    return lines


def table_lines(table: DistanceTable, title: str) -> list[Line]:
    """Draw one table: the share of the far bucket first, then a row per head and per depth."""
    names = bucket_names(table.edges)
    far = table.far_share
    if far is None:
        return [(Span(title, "title"), Span("  no node was expanded", "dim"))]
    widths = [max(MIN_CELL, len(name) + 1) for name in names]
    far_role: Role = "warn" if far >= 0.5 else "accent"
    lines: list[Line] = [
        (Span(f"{names[-1]} {far:.1%}", far_role), Span(f"  of {table.total} distances, {title}", "title")),
        note(" " * LABEL + "".join(name.rjust(width) for name, width in zip(names, widths, strict=True))),
        _share_line("all", table.by_head.sum(axis=0), widths),
    ]
    lines += [_share_line(f"head {head}", row, widths) for head, row in enumerate(table.by_head) if row.any()]
    lines += [
        _share_line(f"depth {depth}", row, widths) for depth, row in enumerate(table.by_depth) if row.any()
    ]
    if table.outside:
        lines.append(
            note(f"  {table.outside} distances are below {table.edges[0]}: a key after its query", "bad")
        )
    return lines


def _share_line(label: str, counts: Counts, widths: Sequence[int]) -> Line:
    total = int(counts.sum())
    cells = (_share(count / total, width) for count, width in zip(counts.tolist(), widths, strict=True))
    return (Span(f"{label:<{LABEL}}", "plain"), Span("".join(cells), "plain"))


def _share(share: float, width: int) -> str:
    """Return a block whose height is the share, and the share, e.g. `▄ 48%`."""
    if not share:
        return "·".rjust(width)
    block = BLOCKS[max(1, round(share * (len(BLOCKS) - 1)))]
    return f"{block}{share:>4.0%}".rjust(width)


PANEL: Final = Panel(
    "distance",
    "b",
    "how far back the drafter looks, in buckets by head and depth",
    distance_lines,
    columns=frozenset({"draft_top1_offsets"}),
    stage="draft",
    short="dist",
)
