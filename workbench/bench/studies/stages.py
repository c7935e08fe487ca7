"""Time per stage, measured apart from throughput: waiting for the device after a stage takes time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracing.moment import STAGES
from tracing.stages import DecodePath
from workbench.bench.stats import Distribution, mean, ratio
from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Plot, Series, Study, Table
from workbench.bench.turn import BenchCase
from workbench.fused.path import path_over
from workbench.lockstep.choice.decoders import Decoded, Stopwatch, speculative_decoder
from workbench.lockstep.engine.step import NullObserver


class StageClock(NullObserver):
    """Times every stage, device synchronised.

    Attributes:
        times: Seconds of every run of each stage.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._start = 0.0
        self.times: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def before_stage(self, stage: str) -> None:  # noqa: ARG002 the protocol
        """Start the clock."""
        self._start = self._stopwatch.read()

    def after_stage(self, stage: str, result: Any) -> None:  # noqa: ARG002 the protocol
        """Stop the clock."""
        self.times[stage].append(self._stopwatch.read() - self._start)


def stage_times(
    lab: Lab, path: DecodePath, cases: Sequence[BenchCase]
) -> tuple[dict[str, list[float]], list[Decoded]]:
    """Decode contexts with every stage timed; the first context once before, to warm up.

    Returns:
        Seconds of every run of each stage, and the calls they were part of.
    """
    stopwatch, limit = lab.session.stopwatch, lab.session.max_new_tokens
    eos = lab.engine.eos_token_ids
    if cases:
        speculative_decoder(path, eos, stopwatch)(cases[0].token_ids, min(limit, 16))
    clock, decoded = StageClock(stopwatch), []
    decode = speculative_decoder(path, eos, stopwatch, observer=clock)
    for case in cases:
        decoded.append(decode(case.token_ids, limit))
        lab.tick()
    return clock.times, decoded


def measure(lab: Lab) -> Study:
    """Time every stage, and the cost of the timing itself."""
    cases = lab.cases()
    timed, decoded = stage_times(lab, path_over(lab.engine), cases)
    plain = lab.session.speculative(lab.engine)
    bare = [plain(case.token_ids, lab.session.max_new_tokens) for case in cases]
    slower = ratio(mean(one.seconds for one in decoded), mean(one.seconds for one in bare))
    total = sum(sum(times) for times in timed.values())
    rows = []
    for stage, times in timed.items():
        spread = Distribution.of(1e3 * each for each in times)
        share = ratio(sum(times), total)
        rows.append(
            (stage, spread.num, spread.mean, spread.p50, spread.p99, ratio(spread.p99, spread.mean), share)
        )
    names = tuple(row[0] for row in rows)
    return Study(
        name="stages",
        title="Time per stage",
        text=(
            f"{len(cases)} contexts, the chosen tree, device synchronised after every stage.",
            f"With this a call takes {slower:.3f} times as long as without.",
            "Prefill runs once a turn, the others once a step.",
            "The first draft of a turn feeds the drafter the whole context: this is the draft's long tail.",
        ),
        tables=(
            Table(
                "Stages",
                ("stage", "runs", "mean ms", "p50 ms", "p99 ms", "p99/mean", "share of time"),
                tuple(rows),
            ),
        ),
        plots=(
            Plot(
                "bar",
                "Mean time per stage",
                "",
                "ms",
                (Series("mean", names, tuple(row[2] for row in rows)),),
            ),
            Plot(
                "bar",
                "p99 over mean",
                "",
                "ratio",
                (Series("p99/mean", names, tuple(row[5] for row in rows)),),
                1.0,
            ),
        ),
    )
