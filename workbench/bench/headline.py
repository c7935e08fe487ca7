"""The first study: the paper's Table 1 next to ours, and which turns gain and which lose."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from workbench.bench.stats import Distribution, Spread
from workbench.bench.summary import Summary, by_repetition, by_turn, is_repetitive, summarize, turn_speedups
from workbench.bench.tables import Cell, Plot, Series, Study, Table
from workbench.bench.turn import TurnResult

PAPER: Final[dict[str, tuple[float, float, float, float]]] = {
    "baseline tok/s": (17.65, 17.72, 18.69, 19.37),
    "speculative tok/s": (22.42, 21.72, 31.65, 42.09),
    "speedup": (1.27, 1.21, 1.84, 2.46),
    "accept_L": (3.17, 3, 6, 8),
}
"""EAGLE-Pangu, arXiv 2603.08088, Table 1: 240 turns, fused kernels, an Ascend NPU; mean, p50, p90, p99."""
LENGTH_EDGES: Final = (0, 64, 128, 256, 512, 1024, 1 << 30)


def headline(
    results: Sequence[TurnResult], chosen: Mapping[str, str], *, proposer: str | None = None
) -> Study:
    """Return the headline study of finished turns of one proposer, named where there are several."""
    summary = summarize(results)
    return Study(
        name="headline" if proposer is None else f"headline-{proposer.replace('_', '-')}",
        title="Speed against teacher-only greedy decoding" if proposer is None else f"Speed: {proposer}",
        text=tuple(_text(summary, chosen)),
        tables=(table_one(summary), _more(summary), _parts(results), _repetitions(results)),
        plots=_plots(results) if summary.num_turns else (),
        num_refused=summary.num_refused,
    )


def _text(summary: Summary, chosen: Mapping[str, str]) -> list[str]:
    ratio, mean = summary.ratio_of_means, summary.mean_of_ratios
    lines = [
        (
            f"{summary.num_turns} turns, {summary.num_repetitions} repetition"
            f"{'' if summary.num_repetitions == 1 else 's'}; "
            f"tree {chosen.get('tree', '?')} (nodes/depth/top_k), operators {chosen.get('eager', '?')}, "
            f"teacher-only {chosen.get('greedy', '?')}."
        ),
        (
            f"Mean speedup {ratio.value:.3f} as ratio of mean tokens/s (the paper's{_over(ratio, '; ')}), "
            f"{mean.value:.3f} as mean of the turns' ratios{_over(mean, ' (')}{')' * (mean.num > 1)}."
        ),
        _over_turns(summary),
        (
            f"Texts: {summary.num_refused} refused (not the teacher's own), "
            f"{summary.num_near_ties} near ties, the rest equal token by token."
        ),
    ]
    if summary.num_refused:
        lines.append("Refused turns count for nothing above; see `why` in turns.csv.")
    return lines


def _over(spread: Spread, before: str) -> str:
    """Say how far repetitions lie apart, where there are several."""
    return f"{before}{spread.low:.3f} to {spread.high:.3f} over repetitions" if spread.num > 1 else ""


def _over_turns(summary: Summary) -> str:
    """Say how much the mean says of other turns."""
    if summary.over_turns is None:
        return (
            "One turn says nothing of others: the mean has no interval."
            if summary.num_turns
            else "No turn counts."
        )
    low, high = summary.over_turns
    return (
        f"With {summary.num_turns} turns the mean of ratios is known to {low:.3f} to {high:.3f} "
        "(95 %, Student's t over turns)."
    )


def table_one(summary: Summary) -> Table:
    """Return the paper's Table 1 next to ours."""
    ours = {
        "baseline tok/s": summary.baseline.tokens_per_second,
        "speculative tok/s": summary.speculative.tokens_per_second,
        "speedup": summary.speedup,
        "accept_L": summary.num_accepted,
    }
    rows = []
    for name, values in ours.items():
        mean = summary.ratio_of_means.value if name == "speedup" else values.mean
        rows.append((name, mean, values.p50, values.p90, values.p99, *PAPER[name]))
    return Table(
        "Table 1, ours and the paper's",
        ("metric", "mean", "p50", "p90", "p99", "paper mean", "paper p50", "paper p90", "paper p99"),
        tuple(rows),
        "the mean speedup is the ratio of mean tokens/s, as in the paper; accept_L is num_accepted, root and "
        "final token excluded; the paper's figures are of another model on another machine",
    )


def _more(summary: Summary) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, side in (("baseline", summary.baseline), ("speculative", summary.speculative)):
        rows.append((f"{name} time to first token, ms", *_scaled(side.first_token_seconds, 1e3)))
        rows.append((f"{name} time per token after it, ms", *_scaled(side.seconds_per_token, 1e3)))
    counts = ("steps", "new_tokens", "prompt_tokens")
    rows += [(f"{name.replace('_', ' ')} per turn", *_scaled(getattr(summary, name), 1)) for name in counts]
    return Table("Latency and lengths", ("metric", "mean", "p50", "p90", "p99"), tuple(rows))


def _scaled(values: Distribution, factor: float) -> tuple[float, ...]:
    return tuple(factor * each for each in (values.mean, values.p50, values.p90, values.p99))


def _parts(results: Sequence[TurnResult]) -> Table:
    """Return speed-up and acceptance of parts of the turns."""
    parts: dict[str, list[TurnResult]] = {"all": list(results)}
    for kind in sorted({result.case.kind for result in results}):
        parts[kind] = [result for result in results if result.case.kind == kind]
    parts["output repeats itself"] = [result for result in results if is_repetitive(result)]
    parts["output does not"] = [result for result in results if not is_repetitive(result)]
    for low, high in itertools.pairwise(LENGTH_EDGES):
        inside = [result for result in results if low <= result.num_prompt_tokens < high]
        name = (
            f"prompt of {low} tokens or more" if high == LENGTH_EDGES[-1] else f"prompt {low} to {high - 1}"
        )
        parts[name] = inside
    rows = []
    for name, part in parts.items():
        if part:
            one = summarize(part)
            rows.append(
                (
                    name,
                    one.num_turns,
                    one.ratio_of_means.value,
                    one.mean_of_ratios.value,
                    one.speedup.p50,
                    one.speedup.p90,
                    one.speedup.p99,
                    one.num_accepted.mean,
                )
            )
    head = ("turns", "number", "speedup", "mean of ratios", "p50", "p90", "p99", "accept_L mean")
    note = "an output repeats itself when less than half of its 4-grams are distinct; loops are easy to draft"
    return Table("Speedup by part", head, tuple(rows), note)


def _repetitions(results: Sequence[TurnResult]) -> Table:
    rows = []
    for group in by_repetition([result for result in results if result.counts]):
        one = summarize(group)
        rows.append(
            (
                group[0].repetition,
                one.num_turns,
                one.baseline.tokens_per_second.mean,
                one.speculative.tokens_per_second.mean,
                one.ratio_of_means.value,
                one.mean_of_ratios.value,
            )
        )
    head = ("repetition", "turns", "baseline tok/s", "speculative tok/s", "speedup", "mean of ratios")
    return Table("Repetitions", head, tuple(rows))


def _plots(results: Sequence[TurnResult]) -> tuple[Plot, ...]:
    turns = by_turn([result for result in results if result.counts])
    speedups = turn_speedups(turns)
    once = [group[0] for group in turns]
    kinds = sorted({result.case.kind for result in once})
    accepted = [Distribution.of(result.speculative.uncut).mean for result in once]

    def of(kind: str, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(value for value, result in zip(values, once, strict=True) if result.case.kind == kind)

    def speedup_over(what: str, x_label: str, x: Sequence[float]) -> Plot:
        series = (Series(kind, of(kind, x), of(kind, speedups), of(kind, names)) for kind in kinds)
        return Plot("scatter", f"Speedup over {what}, by turn", x_label, "speedup", tuple(series), level=1.0)

    lengths = [result.num_prompt_tokens for result in once]
    outputs = [len(result.baseline.token_ids) for result in once]
    names = [f"{result.case.name} turn {result.case.turn}" for result in once]
    return (
        Plot(
            "histogram",
            "Speedup of each turn",
            "speedup",
            "turns",
            tuple(Series(kind, of(kind, speedups)) for kind in kinds),
        ),
        speedup_over("mean acceptance", "mean num_accepted of the turn", accepted),
        speedup_over("prompt length", "prompt tokens", lengths),
        Plot("histogram", "Prompt lengths", "tokens", "turns", (Series("prompts", tuple(lengths)),)),
        Plot("histogram", "Output lengths", "tokens", "turns", (Series("outputs", tuple(outputs)),)),
    )
