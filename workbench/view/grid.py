"""What is wrong with a visibility grid, cell by cell: leaked, hidden, transposed, different on the two sides.

What a cell should be follows from the side's own parents (a node sees itself and its ancestors, as far as the
model's window leaves them); where they are not recorded or broken, from the other side's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from invariants.ancestry import path_to_root
from invariants.rule import NotApplicableError
from invariants.spans import lawful_visible, shown_span
from tracing.errors import SpecwbError
from tracing.run_facts import ModelFacts
from workbench.judge.recorded.context import read_context
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
        side: The side.
        pads: Padding nodes.
        prefix: Committed rows that each query should see, `[N]`; None where that is not known.
    """

    codes: Codes
    expected_from: str
    broken: tuple[int, ...]
    side: Side
    pads: frozenset[int]
    prefix: NDArray[np.int64] | None = None

    def wrong_cells(self) -> list[tuple[int, int]]:
        """Return query and key of every cell that is not as it should be."""
        rows, columns = np.nonzero(self.codes >= LEAKED)
        return list(zip(rows.tolist(), columns.tolist(), strict=True))

    def prefix_is_off(self, query: int) -> bool:
        """Return whether a query sees fewer or more committed rows than it should."""
        seen = self.side.at("prefix_visible", query)
        return bool(seen is not None and self.prefix is not None and seen != self.prefix[query])

    def prefix_is_wrong(self, query: int) -> bool:
        """Return whether a query sees another part of the prefix, or any column outside prefix and tree."""
        short = self.prefix_is_off(query) and query not in self.pads
        return short or bool(self.side.at("other_visible", query))


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
    return GridPanel(codes, source, broken, step.left, pads, _lawful_prefix(step, len(actual)))


def _facts(step: StepView) -> ModelFacts | None:
    """Return what is lawful for the model; None where it is not known."""
    try:
        return read_context(step.manifest).model_facts
    except SpecwbError:
        return None  # the panel of rules says what is wrong with the manifest


def _lawful_prefix(step: StepView, num_nodes: int) -> NDArray[np.int64] | None:
    """Return the committed rows that each query should see; None where that is not known."""
    side, length = step.left, step.left.committed_len
    seen, depths = side.get("prefix_visible"), side.get("depths")
    if seen is None or length is None or np.shape(seen) != (num_nodes,) or np.ma.is_masked(seen):
        return None
    if depths is not None and (np.shape(depths) != (num_nodes,) or np.ma.is_masked(depths)):
        depths = None
    valid = np.array([node not in side.pads for node in range(num_nodes)], dtype=np.bool_)
    try:
        span = shown_span(np.asarray(seen), depths, valid, length, _facts(step))
    except NotApplicableError:
        return None
    below = np.zeros(num_nodes, np.int64) if depths is None else np.asarray(depths, np.int64)
    return span.num_prefix(length + below, length)


def _expected(
    step: StepView, shape: tuple[int, ...], pads: frozenset[int]
) -> tuple[Grid | None, str, tuple[int, ...]]:
    side, parents = step.left, step.left.parents
    if side.get("parents") is not None and len(parents) == shape[0]:
        valid = [node not in pads for node in range(len(parents))]
        broken = (
            node for node, is_valid in enumerate(valid) if is_valid and path_to_root(node, parents) is None
        )
        visible = side.visible
        assert visible is not None
        lawful = lawful_visible(
            np.asarray(parents), np.array(valid, np.bool_), visible, side.committed_len, _facts(step)
        )
        return lawful, f"{side.label}'s own parents", tuple(broken)
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
