"""Read a task folder: where its files are, and the rows of its cases."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracing.errors import UsageError

FILES: Final = ("module.py", "test_cases.csv")
MAX_BYTES: Final = 4 << 20
MAX_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        level: 1 to 3, of the folder above it; 2 where none says so.
        rows: Parameters of each case by column, `case_id` among them.
    """

    name: str
    level: int
    validation: Path
    rows: tuple[dict[str, Any], ...]


def read_task(folder: Path) -> Task:
    """Read a task folder, or its folder `validation`.

    Raises:
        UsageError: Its files are not there or cannot be read.
    """
    validation = folder / "validation" if (folder / "validation").is_dir() else folder
    missing = [name for name in FILES if not (validation / name).is_file()]
    if missing:
        raise UsageError(
            f"{folder}: expected a folder with validation/module.py, prepare_inputs.py and test_cases.csv; "
            f"{', '.join(missing)} is not there"
        )
    top = validation.resolve().parent if validation.name == "validation" else validation.resolve()
    levels = [int(part[5]) for part in top.parts if part in {"level1", "level2", "level3"}]
    return Task(top.name, levels[-1] if levels else 2, validation.resolve(), read_rows(validation / FILES[1]))


def read_rows(file: Path) -> tuple[dict[str, Any], ...]:
    """Return the rows of a table with `;` between cells, columns typed as a whole.

    A column of whole numbers is int, of numbers float, of true and false bool; anything else stays text. An
    empty cell is NaN.

    Raises:
        UsageError: The file is too large or no such table.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"{file.stat().st_size:,} bytes")
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = list(csv.DictReader(stream, delimiter=";", strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{file}: expected cases with ';' between cells: {error}") from error
    if not table or len(table) > MAX_ROWS or any(None in row or None in row.values() for row in table):
        raise UsageError(f"{file}: expected 1 to {MAX_ROWS:,} rows with a cell for each column")
    columns = {name: _typed([str(row[name]).strip() for row in table]) for name in table[0]}
    rows = [{name: values[number] for name, values in columns.items()} for number in range(len(table))]
    return tuple({"case_id": number} | row for number, row in enumerate(rows))


def _typed(cells: list[str]) -> list[Any]:
    filled = [cell for cell in cells if cell]
    if filled and all(cell.lower() in {"true", "false"} for cell in filled):
        return [cell.lower() == "true" if cell else math.nan for cell in cells]
    try:
        numbers = [float(cell) if cell else math.nan for cell in cells]
    except ValueError:
        return [cell or math.nan for cell in cells]
    if all(number.is_integer() for number in numbers):
        return [int(number) for number in numbers]
    return list(numbers)
