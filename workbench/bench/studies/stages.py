"""Time per stage, measured apart from throughput: waiting for the device after every stage perturbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tracing.moment import STAGES
from tracing.stages import DecodePath
from workbench.bench.decoders import Decoded, Stopwatch, speculative_decoder
from workbench.bench.stats import Distribution, mean, ratio
from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Plot, Series, Study, Table
from workbench.bench.turn import Case
from workbench.fused.path import path_over


@dataclass(frozen=True, slots=True)
class StageTimes:
    """What stages took.

    Attributes:
        times: Seconds of every run of each stage.
        decoded: The calls they were part of.
    """

    times: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    decoded: list[Decoded] = field(default_factory=list)


def timed(path: DecodePath, stopwatch: Stopwatch, times: dict[str, list[float]]) -> DecodePath:
    """Return a path whose stages write down how long they took, device synchronised."""

    def wrap(stage: str) -> Callable[..., Any]:
        run = getattr(path.stages, stage)

        def measured(*arguments: Any) -> Any:
            start = stopwatch.read()
            result = run(*arguments)
            times[stage].append(stopwatch.read() - start)
            return result

        return measured

    return replace(path, stages=replace(path.stages, **{stage: wrap(stage) for stage in STAGES}))


def stage_times(lab: Lab, path: DecodePath, cases: Sequence[Case]) -> StageTimes:
    """Decode contexts with every stage timed; the first context once before, to warm up."""
    found = StageTimes()
    stopwatch, limit = lab.session.stopwatch, lab.session.max_new_tokens
    eos = lab.engine.eos_token_ids
    if cases:
        speculative_decoder(path, eos, stopwatch)(cases[0].token_ids, min(limit, 16))
    decode = speculative_decoder(timed(path, stopwatch, found.times), eos, stopwatch)
    for case in cases:
        found.decoded.append(decode(case.token_ids, limit))
        lab.tick()
    return found


def measure(lab: Lab) -> Study:
    """Time every stage, and say what the timing itself cost."""
    cases = lab.cases()
    found = stage_times(lab, path_over(lab.engine), cases)
    plain = lab.session.speculative(lab.engine)
    bare = [plain(case.token_ids, lab.session.max_new_tokens) for case in cases]
    slower = ratio(mean(one.seconds for one in found.decoded), mean(one.seconds for one in bare))
    total = sum(sum(times) for times in found.times.values())
    rows = []
    for stage, times in found.times.items():
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
            "The first draft of a turn feeds the drafter the whole context: it is the draft's long tail.",
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
