"""What `specwb check` costs: its start, its rate, its memory over the length of a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from costs.row import Cost, Goal, Row
from costs.timing import middle, peak_mb, specwb
from costs.workshop import NUM_NODES, Workshop

REPETITIONS: Final = 7
LONG_REPETITIONS: Final = 3
SHORT: Final = 10_000
LONG: Final = 100_000
GOALS: Final[dict[str, Goal | None]] = {
    "check.start": Goal(0.2),
    "check.rate": Goal(60_000, at_least=True),
    "check.rate_with_digests": None,
    "check.memory": Goal(1.1),
}


def _measure(workshop: Workshop) -> Iterator[Row]:
    yield _start(workshop)
    yield _rate(workshop, "check.rate", "all rules that need no digests", digests=False)
    yield _rate(workshop, "check.rate_with_digests", "all rules", digests=True)
    yield _memory(workshop)


def _start(workshop: Workshop) -> Row:
    run = str(workshop.long_run(1))
    workshop.say("starting check")
    done = [specwb("check", run, allowed=(0, 4)) for _ in range(REPETITIONS)]
    value, spread = middle([each.seconds for each in done])
    processor = middle([each.processor for each in done])[0]
    how = f"`specwb check` of one step, a process, {REPETITIONS} times; {processor:.2f} s of processor"
    return Row(name="check.start", value=value, unit="s", goal=GOALS["check.start"], spread=spread, how=how)


def _rate(workshop: Workshop, name: str, rules: str, *, digests: bool) -> Row:
    from workbench.judge.recorded.check import check_run

    run = workshop.long_run(LONG, digests=digests)
    workshop.say("checking")
    rates = []
    for _ in range(LONG_REPETITIONS):
        start = time.process_time()
        checked = check_run(run)
        rates.append(checked.num_steps / (time.process_time() - start))
    value, spread = middle(rates)
    return Row(
        name=name,
        value=value,
        unit="steps/s",
        goal=GOALS[name],
        spread=spread,
        how=f"{LONG} {NUM_NODES}-node steps, {rules}, from disk, over the processor time of one core, "
        f"{LONG_REPETITIONS} times",
    )


def _memory(workshop: Workshop) -> Row:
    runs = [str(workshop.long_run(length)) for length in (SHORT, LONG)]
    workshop.say("checking a short and a long run")
    short, long = (peak_mb("check", run) for run in runs)
    return Row(
        name="check.memory",
        value=long / short,
        unit="",
        goal=GOALS["check.memory"],
        how=f"peak memory of `specwb check`, {LONG} steps ({long:.0f} MB) over {SHORT} ({short:.0f} MB)",
    )


COSTS: Final = (Cost("check", dict(GOALS), _measure),)
