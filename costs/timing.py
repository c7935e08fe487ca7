"""Medians and quartiles, and a command of ours as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from tracing.errors import EnvironmentProblemError

ROOT: Final = Path(__file__).resolve().parents[1]
PEAK: Final = "import pathlib, sys; sys.argv[0] = 'specwb'; from specwb import main; code = main(); "
"""The beginning of a program that runs `specwb`; `code` is what it ended with."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended.

    Attributes:
        seconds: From start to end, the start of Python included.
        processor: Processor time of all its threads, in seconds; on a busy machine the steadier of the two.
        stdout: What it printed.
    """

    seconds: float
    processor: float
    stdout: str


def middle(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the median and the quartiles of some measurements; no quartiles of fewer than three."""
    if len(values) < 3:
        return median(values), None
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return median(values), (lower, upper)


def specwb(*argv: str, allowed: Sequence[int] = (0,), program: str = "") -> Finished:
    """Run a command of ours in a process of its own.

    Args:
        argv: What follows `specwb`.
        allowed: Exit codes that mean it worked.
        program: Python source that runs instead of `specwb.py`, with the same arguments.

    Raises:
        EnvironmentProblemError: It ended otherwise.
    """
    front = ["-c", program] if program else [str(ROOT / "specwb.py")]
    start, used = time.perf_counter(), _processor_of_children()
    done = subprocess.run(
        [sys.executable, *front, *argv],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
    )
    seconds, processor = time.perf_counter() - start, _processor_of_children() - used
    if done.returncode not in allowed:
        *_, last = ["no output", *(done.stderr or done.stdout).strip().splitlines()]
        raise EnvironmentProblemError(f"specwb {' '.join(argv)} ended with {done.returncode}: {last}")
    return Finished(seconds, processor, done.stdout)


def _processor_of_children() -> float:
    """Return the processor time of all processes that were started and have ended, in seconds."""
    times = os.times()
    return times.children_user + times.children_system


def peak_mb(*argv: str) -> float:
    """Run a command of ours and return its peak memory in MB.

    Raises:
        EnvironmentProblemError: The system does not tell (no procfs). `getrusage` is no help: a process
            begins with the peak of the one that started it.
    """
    if not Path("/proc/self/status").exists():
        raise EnvironmentProblemError("peak memory needs /proc/self/status, which this system does not have")
    tell = "print(pathlib.Path('/proc/self/status').read_text()); sys.exit(code)"
    status = specwb(*argv, program=PEAK + tell).stdout.splitlines()
    return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) * 1024 / 1e6
