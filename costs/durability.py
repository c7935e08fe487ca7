"""What a recorded step costs under each durability, and on a disk that refuses; steps are interleaved."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from costs.row import Cost, Goal, Row
from costs.timing import middle
from costs.workshop import Workshop
from tracing import files
from tracing.recorder import RunWriter, Trace

NUM_STEPS: Final = 640
NUM_NODES: Final = 60
NUM_REFUSED: Final = 4000
NODES: Final = np.arange(NUM_NODES)
GOALS: Final[dict[str, Goal | None]] = {
    "durability.process": None,
    "durability.power": None,
    "durability.refused": Goal(1.5),
}


class _FullDisk:
    """`os` that has no room for a byte."""

    @staticmethod
    def pwrite(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def _measure(workshop: Workshop) -> Iterator[Row]:
    runs = {name: _run(workshop.folder / f"durable-{name}", name) for name in ("process", "power")}
    traces = {name: run.path("fused", level="basic") for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    workshop.say("recording under both durabilities")
    for step in range(NUM_STEPS):
        for name, trace in traces.items():
            seconds[name].append(_step(trace, step))
    for run in runs.values():
        run.close()
    value, spread = middle([1e6 * one for one in seconds["process"]])
    how = (
        f"a {NUM_NODES}-node step, level basic, one stage, of {NUM_STEPS} steps; handed to the system at once"
    )
    yield Row(name="durability.process", value=value, spread=spread, unit="us", how=how)
    pairs = zip(seconds["power"], seconds["process"], strict=True)
    value, spread = middle([one / other for one, other in pairs])
    more = middle([1e6 * one for one in seconds["power"]])[0]
    how = f"the same step, every record waiting for this disk ({more:.0f} us), over the one that does not"
    yield Row(name="durability.power", value=value, spread=spread, unit="", how=how)
    yield _refused(workshop)


def _refused(workshop: Workshop) -> Row:
    """Compare the last thousand steps on a full disk with the first."""
    run = _run(workshop.folder / "refused", "process")
    trace = run.path("fused", level="basic", on_error="warn")
    vars(files)["os"] = _FullDisk()
    try:
        seconds = [_step(trace, step) for step in range(NUM_REFUSED)]
    finally:
        vars(files)["os"] = os
    run.close()
    first, last = (middle(part)[0] for part in (seconds[:1000], seconds[-1000:]))
    how = f"a step on a full disk: median of the last thousand of {NUM_REFUSED} over the first thousand"
    name = "durability.refused"
    return Row(name=name, value=last / first, unit="", goal=GOALS[name], how=how)


def _run(folder: Path, durability: Any) -> RunWriter:
    return RunWriter(folder, durability=durability)


def _step(trace: Trace, step: int) -> float:
    start = time.perf_counter()
    with trace.step(step=step) as recorded:
        recorded.record(token_ids=NODES, parents=NODES, depths=NODES, position_ids=NODES + step)
        recorded.about_to_run("verify", committed_len=step)
        recorded.record(target_token_ids=NODES, final_token_id=step)
    return time.perf_counter() - start


COSTS: Final = (Cost("durability", dict(GOALS), _measure),)
"""What waiting for the disk takes, and what a refusing one does."""
