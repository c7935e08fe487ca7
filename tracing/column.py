"""What one trace column is; the columns themselves are in `tracing.columns`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEY_COLUMNS: Final = ("prompt_id", "turn", "step")
LEVELS: Final = ("basic", "digest", "full")
FORM_AXES: Final = frozenset({"N", "K", "H"})
"""Axes that give a row its form: they must agree within a step."""
AXES: Final = {
    "N": "tree nodes, root and pads included",
    "L": "committed tokens before the step",
    "A": "accepted draft nodes",
    "K": "recorded top logits",
    "H": "heads",
    "G": "KV groups of the cache",
    "B": "blocks, filled up with -1",
    "R": "rows of a rotary position (one per section of a multi-axis rotary embedding)",
    "M": "layers with experts",
    "E": "experts chosen per token",
    "X": "experts of a layer",
    "*": "any length",
}
"""Axis letters. L and A count what happened: a length that disagrees with them is recorded as it is."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a row.

    Attributes:
        name: Name in the trace, in `record(...)` and in the arguments of invariants.
        kind: Element type: `int32`, `int64`, `uint64`, `float32`, `float64`, `bool`, `string`,
            `dictionary` or `sites`.
        axes: None for a scalar; else one axis letter (or expression) per dimension, `*` for a free length.
            More than one axis is stored flat, row-major.
        stage: Stage that produces it, or `any`.
        meaning: One line for the documentation.
        unit: Unit of the values, or empty.
        level: Lowest recorder level that keeps it: `basic`, `digest` or `full`.
        null_entries: Entries of an array may be null and then mean something; in every other column a null
            entry is a value that the column's type cannot hold.
        compared: Two sound runs of the same prompt agree in it (floats and digests: on one machine).
    """

    name: str
    kind: str
    axes: tuple[str, ...] | None
    stage: str
    meaning: str
    unit: str = ""
    level: str = "basic"
    null_entries: bool = False
    compared: bool = True

    @property
    def nullable(self) -> bool:
        """Every column but the three keys may be null: null means not recorded."""
        return self.name not in KEY_COLUMNS

    @property
    def is_list(self) -> bool:
        """True for columns that hold an array per step."""
        return self.axes is not None

    @property
    def shape_text(self) -> str:
        """The shape in axis letters, as error messages and the documentation print it, e.g. `[N, K]`."""
        return "a scalar" if self.axes is None else f"[{', '.join(self.axes)}]"
