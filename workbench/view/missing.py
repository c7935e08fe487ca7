"""What a panel shows when its columns are not recorded."""

from __future__ import annotations

from workbench.view.lines import Line, note
from workbench.view.step import Side


def missing_lines(side: Side | None, *names: str) -> list[Line]:
    """Return a line for the columns that a side does not have, or none."""
    if side is None:
        return []
    absent = [name for name in names if side.get(name) is None]
    return [note(side.why_not(*absent), "warn")] if absent else []
