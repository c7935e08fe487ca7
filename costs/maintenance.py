"""What the commands that make runs from runs cost, beside what copying the same bytes costs here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Final

from costs.row import Cost, Goal, Row
from costs.timing import middle, specwb
from costs.workshop import NUM_NODES, Workshop

NUM_STEPS: Final = 200_000
REPETITIONS: Final = 3
LAST: Final = f"{NUM_STEPS // 64 - 2}:0:63"
GOALS: Final[dict[str, Goal | None]] = {
    "trace.verify": None,
    "trace.slice": None,
    "trace.merge": None,
    "trace.export": None,
}


def _measure(workshop: Workshop) -> Iterator[Row]:
    run, made = str(workshop.long_run(NUM_STEPS)), workshop.folder / "made"
    commands: dict[str, tuple[str, ...]] = {
        "trace.verify": ("verify", run),
        "trace.slice": ("slice", run, "--first", "0:0:1", "--last", LAST, "--out", str(made)),
        "trace.merge": ("merge", run, "--out", str(made)),
        "trace.export": ("export", run, "--out", str(made)),
    }
    for name, argv in commands.items():
        workshop.say(f"specwb trace {argv[0]}")
        seconds, copying, processor = [], [], []
        for _ in range(REPETITIONS):
            copying.append(_copied(Path(run), workshop.folder / "copied"))
            done = specwb("trace", *argv)
            seconds.append(done.seconds)
            processor.append(done.processor)
            shutil.rmtree(made, ignore_errors=True)
        value, spread = middle(seconds)
        how = (
            f"`specwb trace {argv[0]}` of {NUM_STEPS} {NUM_NODES}-node steps, {REPETITIONS} times; "
            f"{middle(processor)[0]:.1f} s of processor; copying the files takes {middle(copying)[0]:.1f} s"
        )
        yield Row(name=name, value=value, unit="s", goal=GOALS[name], spread=spread, how=how)


def _copied(run: Path, to: Path) -> float:
    """Copy a run through this disk's cache and return how long it took, in seconds."""
    begun = perf_counter()
    shutil.copytree(run, to)
    seconds = perf_counter() - begun
    shutil.rmtree(to)
    return seconds


COSTS: Final = (Cost("trace", dict(GOALS), _measure),)
"""What running over a whole trace once takes."""
