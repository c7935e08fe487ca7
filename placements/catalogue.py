"""Every fault of the catalogue that is in our path, located from the first finding of its run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from placements.measure import subject_of
from tracing.errors import SpecwbError
from workbench.faults.bench import Bench, tiny_bench
from workbench.faults.catalogue import CATALOGUE
from workbench.faults.experiment import run_lockstep
from workbench.faults.fault import Fault
from workbench.locate.located import Located, locate
from workbench.locate.text import headlines

COLUMN: Final = "located to"
ABOUT: Final = (
    "*Located to* is what `specwb locate` names from the first finding on the tiny pair (`make located`): "
    "operators with their layers; *the finding itself* where the stage runs no network; *not its networks* "
    "where all their tensors are right and what the stage makes of them is not."
)
MOST: Final = 3
"""Operators that a cell names."""


def write_located(target: Path) -> None:
    """Write the column of the kill matrix: name of a fault to what it was located to."""
    cells = dict(_cells(tiny_bench()))
    column = {"column": COLUMN, "about": ABOUT, "faults": cells}
    text = json.dumps(column, indent=1, ensure_ascii=False)
    target.write_text(text + "\n", encoding="utf-8")


def _cells(bench: Bench) -> Iterator[tuple[str, str]]:
    for fault in CATALOGUE:
        cell = cell_of(fault, bench)
        print(f"{fault.name}: {cell}", file=sys.stderr, flush=True)
        yield fault.name, cell


def cell_of(fault: Fault, bench: Bench) -> str:
    """Run a fault and locate its first finding; return it in a few words."""
    setup, placement = bench.setup(fault.need), fault.place()
    if placement.rows or placement.files or placement.runner:
        return "- (not in the path)"
    try:
        with TemporaryDirectory(prefix="specwb-") as folder:
            findings = run_lockstep(setup, placement, Path(folder) / "run").findings
        first = next((each for each in findings if each.severity == "error"), None)
        if first is None:
            return "not noticed"
        again = fault.place()
        with again.around():
            return _told(locate(subject_of(setup, again), first))
    except SpecwbError as problem:
        return f"- ({problem!s:.60})"


def _told(located: Located) -> str:
    named = headlines(located.culprits)
    if named:
        more = f", and {len(named) - MOST} more" if len(named) > MOST else ""
        return "; ".join(named[:MOST]) + more
    if not located.num_judged:
        return f"{located.moment.stage}: the finding itself"
    return f"{located.moment.stage}: not its networks ({located.num_judged} tensors right)"
