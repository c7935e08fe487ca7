"""Proposers side by side on the same turns: speed, acceptance, where each loses, and who should choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from workbench.bench.stats import Distribution, mean, ratio
from workbench.bench.summary import by_proposer, by_turn, summarize, turn_speedups
from workbench.bench.tables import Cell, Plot, Series, Study, Table
from workbench.bench.turn import TurnResult

AUTO: Final = "auto"
"""The proposer that chooses among the others, request by request."""
NEAR_BEST: Final = 0.97
"""Part of the best static choice's speed that the orchestrated one should reach on each kind of turn."""
Turn = tuple[int, int]


def proposers_study(
    results: Sequence[TurnResult], chosen: Mapping[str, Mapping[str, str]], fastest: str
) -> Study:
    """Return the study of several proposers."""
    groups = by_proposer(results)
    kinds = sorted({result.case.kind for result in results})
    parts = {"all turns": groups} | {
        f"{kind} turns": {
            name: [result for result in group if result.case.kind == kind] for name, group in groups.items()
        }
        for kind in kinds
    }
    tables = [_table(title, part, chosen) for title, part in parts.items()]
    text = [
        f"Each turn is decoded teacher-only ({fastest}) and by {', '.join(groups)}, who is first rotates.",
        "Texts are compared with teacher-only decoding; a turn with another text counts for no speed.",
    ]
    if AUTO in groups and len(groups) > 1:
        tables.append(_against_auto(groups))
        text += _verdict(parts)
    return Study(
        name="proposers",
        title="Proposers side by side",
        text=tuple(text),
        tables=tuple(tables),
        plots=_plots(parts, groups),
        num_refused=sum(not result.counts for result in results),
    )


COLUMNS: Final = (
    *("proposer", "drafts", "turns", "tok/s", "speedup", "lowest", "highest", "mean of ratios"),
    *("p50", "p99", "lost", "accept_L mean", "s a turn", "s p99", "refused"),
)


def _table(
    title: str, part: Mapping[str, Sequence[TurnResult]], chosen: Mapping[str, Mapping[str, str]]
) -> Table:
    rows = tuple(_row(name, group, chosen.get(name, {})) for name, group in part.items())
    note = (
        "speedup is the ratio of mean tokens/s over teacher-only decoding, lowest and highest over "
        "repetitions; lost is the share of turns that are slower than teacher-only decoding"
    )
    return Table(f"Proposers, {title}", COLUMNS, rows, note)


def _row(name: str, group: Sequence[TurnResult], chosen: Mapping[str, str]) -> tuple[Cell, ...]:
    one = summarize(group)
    turns = by_turn([result for result in group if result.counts])
    speedups = turn_speedups(turns)
    seconds = Distribution.of(_seconds(turns).values())
    return (
        name,
        chosen.get("tree", ""),
        one.num_turns,
        one.speculative.tokens_per_second.mean,
        one.ratio_of_means.value,
        one.ratio_of_means.low,
        one.ratio_of_means.high,
        one.mean_of_ratios.value,
        one.speedup.p50,
        one.speedup.p99,
        mean(speedup < 1 for speedup in speedups),
        one.num_accepted.mean,
        seconds.mean,
        seconds.p99,
        one.num_refused,
    )


def _seconds(turns: Sequence[Sequence[TurnResult]]) -> dict[Turn, float]:
    """Return the median seconds of each turn."""
    return {
        (group[0].case.prompt_id, group[0].case.turn): float(
            np.median([result.speculative.seconds for result in group])
        )
        for group in turns
    }


def _against_auto(groups: Mapping[str, Sequence[TurnResult]]) -> Table:
    """Return each static choice against the orchestrated one, turn by turn."""
    own = _seconds(by_turn([result for result in groups[AUTO] if result.counts]))
    rows = []
    for name, group in groups.items():
        if name == AUTO:
            continue
        other = _seconds(by_turn([result for result in group if result.counts]))
        both = sorted(own.keys() & other.keys())
        gains = Distribution.of(other[turn] / own[turn] for turn in both)
        total = ratio(sum(other[turn] for turn in both), sum(own[turn] for turn in both))
        slow = Distribution.of(other[turn] for turn in both)
        fast = Distribution.of(own[turn] for turn in both)
        lost = mean(own[turn] > other[turn] for turn in both)
        rows.append((name, len(both), gains.mean, gains.p50, gains.p99, total, slow.p99, fast.p99, lost))
    return Table(
        "Each static choice against the orchestrated one",
        (
            *("static", "turns", "gain mean", "gain p50", "gain p99", "gain of the sum"),
            *("static s p99", "auto s p99", "auto lost"),
        ),
        tuple(rows),
        "gain is the static choice's time over auto's, turn by turn; lost is the share of turns in which "
        "auto is slower",
    )


def _verdict(parts: Mapping[str, Mapping[str, Sequence[TurnResult]]]) -> list[str]:
    """Return whether auto is near the best static choice on each kind of turn, and the best over all."""
    sentences = []
    for title, part in parts.items():
        speeds = {name: summarize(group).ratio_of_means.value for name, group in part.items() if group}
        own = speeds.pop(AUTO, float("nan"))
        known = {name: speed for name, speed in speeds.items() if math.isfinite(speed)}
        if not known or not math.isfinite(own):
            continue
        best = max(known, key=lambda name: known[name])
        share = own / known[best]
        whole = len(parts) == 1 or title == "all turns"
        good = share > 1 if whole else share >= NEAR_BEST
        wanted = "better than each static choice" if whole else "within 3 % of the best static choice"
        sentences.append(
            f"{title}: auto reaches {100 * share:.1f} % of {best}, the best static choice: "
            f"{'' if good else 'NOT '}{wanted}."
        )
    return sentences


def _plots(
    parts: Mapping[str, Mapping[str, Sequence[TurnResult]]], groups: Mapping[str, Sequence[TurnResult]]
) -> tuple[Plot, ...]:
    bars = tuple(
        Series(
            title,
            tuple(part),
            tuple(summarize(group).ratio_of_means.value if group else None for group in part.values()),
        )
        for title, part in parts.items()
    )
    scatter = []
    for name, group in groups.items():
        turns = by_turn([result for result in group if result.counts])
        once = [results[0] for results in turns]
        scatter.append(
            Series(
                name,
                tuple(result.num_prompt_tokens for result in once),
                tuple(turn_speedups(turns)),
                tuple(f"{result.case.name} turn {result.case.turn}" for result in once),
            )
        )
    return (
        Plot("bar", "Speedup by proposer", "", "speedup", bars, level=1.0),
        Plot("scatter", "Speedup over prompt length", "prompt tokens", "speedup", tuple(scatter), level=1.0),
    )
