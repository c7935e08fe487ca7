"""The level port of the examples, and how mistakes are planted in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from causes.mistake import Family
from examples.level_port import LevelPort, path_of
from workbench.faults.experiment import Setup


def _build(setup: Setup) -> LevelPort:
    return LevelPort(setup.pair, setup.settings, setup.dtype)


mistake = Family("level", _build, path_of)


def in_row(rows: Tensor, row: int, value: Tensor | float) -> Tensor:
    """Return a copy with another row."""
    made = rows.clone()
    made[row] = value
    return made


def added(values: Any, place: int, more: int) -> Any:
    """Return a copy of an array with one entry changed."""
    made = values.copy()
    made[place] += more
    return made
