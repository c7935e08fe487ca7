"""The level port of the examples, for mistakes that are held out."""

from __future__ import annotations

from causes.mistake import Family
from examples.level_port import LevelPort, path_of
from workbench.faults.experiment import Setup


def _build(setup: Setup) -> LevelPort:
    return LevelPort(setup.pair, setup.settings, setup.dtype)


mistake = Family("level", _build, path_of, held_out=True)
