"""All studies by their names on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from workbench.bench.studies import (
    budget,
    commits,
    distance,
    generate,
    lengths,
    modes,
    positions,
    stages,
    tree_auto,
    vocabulary,
    window,
)
from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Study

MEASURE: Final[dict[str, Callable[[Lab], Study]]] = {
    "accept-pos": positions.measure,
    "budget": budget.measure,
    "window": window.measure,
    "distance": distance.measure,
    "modes": modes.measure,
    "commit": commits.measure,
    "vocab": vocabulary.measure,
    "stages": stages.measure,
    "length": lengths.measure,
    "tree-auto": tree_auto.measure,
    "generate": generate.measure,
}
