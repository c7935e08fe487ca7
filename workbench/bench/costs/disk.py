"""What a trace takes on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from workbench.bench.costs.row import Cost, Goal, Row
from workbench.bench.costs.workshop import Workshop

NUM_STEPS: Final = 10_048
STEP_KB: Final = "disk.step"


def _measure(workshop: Workshop) -> Iterator[Row]:
    size = (workshop.long_run(NUM_STEPS) / "fused.arrows").stat().st_size
    yield Row(
        name=STEP_KB,
        value=size / NUM_STEPS / 1000,
        unit="KB",
        goal=Goal(8),
        how=f"file size over {NUM_STEPS} sealed 60-node steps, level full, top-8, random tokens and logits",
    )


COSTS: Final = (Cost("disk", {STEP_KB: Goal(8)}, _measure),)
