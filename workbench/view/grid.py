"""What is wrong with a visibility grid, cell by cell: leaked, hidden, transposed, different on the two sides.

What a cell should be follows from the side's own parents (a node sees itself and its ancestors); where they
are not recorded or broken, from the other side's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.ancestry import ancestor_or_self, path_to_root
from workbench.view.step import Side, StepView

Grid = NDArray[np.bool_]
Codes = NDArray[np.uint8]

CORRECTLY_HIDDEN, CORRECTLY_VISIBLE, LEAKED, MISSING, TRANSPOSED, DIFFERENT = range(6)
"""States of a cell."""

GLYPHS: Final = (".", "#", "L", "H", "T", "D")
"""How a state is drawn: letters, so that no colour is needed."""

MEANINGS: Final = (
    "not visible",
    "visible",
    "leaked: visible and no ancestor",
    "hidden: an ancestor that is not visible",
    "transposed: visible the wrong way round, or its mirror image",
    "different on the other side",
)


@dataclass(frozen=True, slots=True)
class GridPanel:
    """The grid of one side.

    Attributes:
        codes: State of every cell, uint8 `[N, N]` (query, key).
        expected_from: What the cells were compared with; empty where nothing was available.
        broken: Nodes whose parents do not lead to the root.
        prefix: Per query, visible committed columns, None where not recorded.
        other: Per query, visible columns outside prefix and tree, None where not recorded.
        committed_len: L, None where not recorded.
        pads: Which rows are padding.
    """

    codes: Codes
    expected_from: str
    broken: tuple[int, ...]
    prefix: tuple[int | None, ...] | None
    other: tuple[int | None, ...] | None
    committed_len: int | None
    pads: frozenset[int]

    def wrong_cells(self) -> list[tuple[int, int]]:
        """Return query and key of every cell that is not as it should be."""
        rows, columns = np.nonzero(self.codes >= LEAKED)
        return list(zip(rows.tolist(), columns.tolist(), strict=True))

    def prefix_is_wrong(self, query: int) -> bool:
        """Return whether a query sees less or more than the prefix, or any column outside prefix and tree."""
        seen, outside = _at(self.prefix, query), _at(self.other, query)
        short = seen is not None and self.committed_len is not None and seen != self.committed_len
        return (short and query not in self.pads) or bool(outside)


def grid_panel(step: StepView) -> GridPanel | None:
    """Return the grid of the left side, None where it has none."""
    side = step.left
    visible = side.grid("visible")
    if visible is None or visible.shape[0] != visible.shape[1]:
        return None
    actual = np.ma.filled(visible, False).astype(np.bool_)
    pads = _pads(side)
    expected, source, broken = _expected(step, actual.shape)
    codes = actual.astype(np.uint8)
    if expected is not None:
        codes = _judged(actual, expected, pads)
    _mark_other_side(codes, actual, step.right)
    prefix, other = side.values("prefix_visible"), side.values("other_visible")
    return GridPanel(
        codes,
        source,
        broken,
        None if prefix is None else tuple(prefix),
        None if other is None else tuple(other),
        side.committed_len,
        pads,
    )


def _pads(side: Side) -> frozenset[int]:
    valid = side.values("valid") or []
    return frozenset(node for node, is_valid in enumerate(valid) if is_valid is False)


def _expected(step: StepView, shape: tuple[int, ...]) -> tuple[Grid | None, str, tuple[int, ...]]:
    side = step.left
    parents = side.values("parents")
    if parents is not None and len(parents) == shape[0]:
        known = [-1 if parent is None else int(parent) for parent in parents]
        valid = [node not in _pads(side) for node in range(len(known))]
        broken = tuple(
            node for node in range(len(known)) if valid[node] and path_to_root(node, known) is None
        )
        return ancestor_or_self(known, valid), f"{side.label}'s own parents", broken
    other = step.right.grid("visible") if step.right is not None else None
    if step.right is not None and other is not None and other.shape == shape:
        return np.ma.filled(other, False).astype(np.bool_), f"{step.right.label}'s grid", ()
    return None, "", ()


def _judged(actual: Grid, expected: Grid, pads: frozenset[int]) -> Codes:
    """Return the state of every cell; a pad may see itself and the root's column, no query may see a pad."""
    codes = actual.astype(np.uint8)
    leaked, hidden = actual & ~expected, expected & ~actual
    for pad in pads:
        leaked[pad] = False  # what a pad sees changes nothing that is used
    swapped = leaked & hidden.T
    codes[leaked], codes[hidden] = LEAKED, MISSING
    codes[swapped | swapped.T] = TRANSPOSED
    return codes


def _mark_other_side(codes: Codes, actual: Grid, other: Side | None) -> None:
    """Mark cells that are correct and differ between the two sides."""
    grid: Any = other.grid("visible") if other is not None else None
    if grid is None or grid.shape != actual.shape:
        return
    unlike = np.ma.filled(grid, False).astype(np.bool_) != actual
    codes[unlike & (codes <= CORRECTLY_VISIBLE)] = DIFFERENT


def _at(values: tuple[int | None, ...] | None, node: int) -> int | None:
    return values[node] if values is not None and node < len(values) else None
