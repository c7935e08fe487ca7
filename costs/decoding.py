"""What our own engine does: greedy and speculative decoding of the shipped pair, by `specwb bench`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Final

from costs.row import Cost, Goal, Row
from costs.timing import middle, specwb
from costs.workshop import Workshop

NUM_TURNS: Final = 4
REPETITIONS: Final = 3
COLUMN: Final = {
    "engine.greedy": ("baseline_tokens_per_second", "tok/s"),
    "engine.speculative": ("speculative_tokens_per_second", "tok/s"),
    "engine.speedup": ("speedup", ""),
}
GOALS: Final[dict[str, Goal | None]] = {
    "engine.greedy": None,
    "engine.speculative": None,
    "engine.speedup": Goal(2.5, at_least=True),
}


def _measure(workshop: Workshop) -> Iterator[Row]:
    workshop.say("decoding, greedily and with drafts")
    out = workshop.folder / "bench"
    size = ("--turns", str(NUM_TURNS), "--repetitions", str(REPETITIONS))
    specwb("bench", *size, "--out", str(out))
    with (out / "turns.csv").open(encoding="utf-8", newline="") as lines:
        turns = list(csv.DictReader(lines))
    for name, (column, unit) in COLUMN.items():
        value, spread = middle([float(turn[column]) for turn in turns])
        how = (
            f"`specwb bench`: {NUM_TURNS} turns of the suite {REPETITIONS} times, 128 tokens, float32, "
            "all texts equal; median over turns"
        )
        yield Row(name=name, value=value, unit=unit, goal=GOALS[name], spread=spread, how=how)


COSTS: Final = (Cost("engine", dict(GOALS), _measure),)
"""What speculation gains; beside other engines it is measured by `specwb bench --peers`."""
