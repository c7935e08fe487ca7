"""What is wrong with a visibility grid, cell by cell: leaked, hidden, transposed, different on the two sides.

What a cell should be follows from the side's own parents (a node sees itself and its ancestors); where they
are not recorded or broken, from the other side's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
    """

    codes: Codes
    expected_from: str
    broken: tuple[int, ...]
    side: Side
    pads: frozenset[int]

    def wrong_cells(self) -> list[tuple[int, int]]:
        """Return query and key of every cell that is not as it should be."""
        rows, columns = np.nonzero(self.codes >= LEAKED)
        return list(zip(rows.tolist(), columns.tolist(), strict=True))

    def prefix_is_wrong(self, query: int) -> bool:
        """Return whether a query sees less or more than the prefix, or any column outside prefix and tree."""
        seen, whole = self.side.at("prefix_visible", query), self.side.committed_len
        short = seen is not None and whole is not None and seen != whole
        return (short and query not in self.pads) or bool(self.side.at("other_visible", query))


def grid_panel(step: StepView) -> GridPanel | None:
    """Return the grid of the left side, None where it has none."""
    actual = step.left.visible
    if actual is None or actual.shape[0] != actual.shape[1]:
        return None
    pads = step.left.pads
    expected, source, broken = _expected(step, actual.shape, pads)
    codes = actual.astype(np.uint8) if expected is None else _judged(actual, expected, pads)
    other = None if step.right is None else step.right.visible
    if other is not None and other.shape == actual.shape:  # correct, and different on the other side
        codes[(other != actual) & (codes <= CORRECTLY_VISIBLE)] = DIFFERENT
    return GridPanel(codes, source, broken, step.left, pads)


def _expected(
    step: StepView, shape: tuple[int, ...], pads: frozenset[int]
) -> tuple[Grid | None, str, tuple[int, ...]]:
    side, parents = step.left, step.left.parents
    if side.get("parents") is not None and len(parents) == shape[0]:
        valid = [node not in pads for node in range(len(parents))]
        broken = (
            node for node, is_valid in enumerate(valid) if is_valid and path_to_root(node, parents) is None
        )
        return ancestor_or_self(parents, valid), f"{side.label}'s own parents", tuple(broken)
    if step.right is not None and step.right.visible is not None and step.right.visible.shape == shape:
        return step.right.visible, f"{step.right.label}'s grid", ()
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
