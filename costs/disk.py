"""What a trace takes on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from costs.row import Cost, Goal, Row
from costs.workshop import Workshop

NUM_STEPS: Final = 10_048
NAME: Final = "disk.step"
GOALS: Final = {NAME: Goal(8)}


def _measure(workshop: Workshop) -> Iterator[Row]:
    size = (workshop.long_run(NUM_STEPS) / "fused.arrows").stat().st_size
    yield Row(
        name=NAME,
        value=size / NUM_STEPS / 1000,
        unit="KB",
        goal=GOALS[NAME],
        how=f"file size over {NUM_STEPS} sealed 60-node steps, level full, top-8, random tokens and logits",
    )


COSTS: Final = (Cost("disk", dict(GOALS), _measure),)
