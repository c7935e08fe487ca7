"""Columns of the kill matrix that were measured elsewhere, as files of plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tracing.errors import UsageError


@dataclass(frozen=True, slots=True)
class MeasuredColumn:
    """A column.

    Attributes:
        about: One sentence, which the page begins with.
        cells: Name of a fault to its text.
    """

    name: str
    about: str
    cells: Mapping[str, str]


def read_column(file: Path) -> MeasuredColumn:
    """Read `{"column": heading, "about": sentence, "faults": {name: text}}`.

    Raises:
        UsageError: The file holds something else.
    """
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        cells = dict(held["faults"])
        texts = [held["column"], held["about"], *cells, *cells.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(f"--beside {file} is no column of the kill matrix: {problem}") from None
    if not all(isinstance(text, str) for text in texts):
        raise UsageError(f"--beside {file}: column, about and every cell should be text")
    return MeasuredColumn(held["column"], held["about"], cells)
