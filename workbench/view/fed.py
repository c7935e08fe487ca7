"""What the reference did in place of a stage that a path does not have, and gave to the path's next stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tracing.columns import COLUMNS
from workbench.view.step import Side

FILLED: Final = ("prefill", "draft", "tensorize", "verify", "accept")
"""Stages whose results cross; commit changes a state, which never does."""
_OF_STAGE: Final = {
    stage: tuple(column.name for column in COLUMNS if column.stage == stage and column.compared)
    for stage in FILLED
}


def with_fed(side: Side, others: list[Side], manifest: Mapping[str, Any]) -> Side:
    """Return a side of a staged run with the columns of the stages that the reference filled.

    A stage was filled where the side's finished row has none of its columns and the reference's has.
    """
    reference = next((other for other in others if other.label == "reference"), None)
    unfinished = side.running or side.absent or side.row.get("incomplete") or side.row.get("launch_refused")
    if reference is None or unfinished or manifest.get("lockstep") != "staged":
        return side
    fed: dict[str, Any] = {}
    for names in _OF_STAGE.values():
        if all(side.row.get(name) is None for name in names):
            fed |= {name: value for name in names if (value := reference.row.get(name)) is not None}
    return replace(side, fed=fed) if fed else side
