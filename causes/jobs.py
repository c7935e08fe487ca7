"""What a process of the measurement runs: one mistake after the other, on one thread."""

from __future__ import annotations

from causes.catalogue import MISTAKES
from causes.measure import Seen, measure
from workbench.faults.bench import tiny_bench

Job = tuple[int, str]
"""Number of the mistake among `MISTAKES`, and the precision of the path."""


def one_thread() -> None:
    """Leave the other processors to the other processes."""
    import torch

    torch.set_num_threads(1)


def run(job: Job) -> Seen:
    """Measure one mistake."""
    return measure(MISTAKES[job[0]], tiny_bench(), job[1])
