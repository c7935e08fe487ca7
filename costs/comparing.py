"""What comparing two recordings costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from costs.row import Cost, Goal, Row
from costs.timing import middle, specwb
from costs.workshop import Workshop

NUM_STEPS: Final = 1_000_000
NUM_NODES: Final = 12
REPETITIONS: Final = 3
NAME: Final = "compare.first_difference"
GOALS: Final = {NAME: Goal(4)}


def _measure(workshop: Workshop) -> Iterator[Row]:
    left, right = (
        workshop.long_run(NUM_STEPS, num_nodes=NUM_NODES, last_token=last_token) for last_token in (None, 5)
    )
    workshop.say("comparing two runs")
    done = [specwb("diff", str(left), str(right), allowed=(1,)) for _ in range(REPETITIONS)]
    value, spread = middle([each.seconds for each in done])
    processor = middle([each.processor for each in done])[0]
    how = (
        f"`specwb diff RUN_A RUN_B`, {NUM_STEPS} {NUM_NODES}-node steps that differ in the last, "
        f"{REPETITIONS} times; {processor:.2f} s of processor"
    )
    yield Row(name=NAME, value=value, unit="s", goal=GOALS[NAME], spread=spread, how=how)


COSTS: Final = (Cost("compare", dict(GOALS), _measure),)
