"""Engines side by side: tokens a second, and a core second, and whose text is the teacher's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from workbench.bench.limits import limits_table
from workbench.bench.stats import mean
from workbench.bench.summary import by_proposer, by_turn
from workbench.bench.tables import Cell, Plot, Series, Study, Table
from workbench.bench.turn import TurnResult
from workbench.lockstep.choice.decoders import Decoded

OURS: Final = "specwb"
COLUMNS: Final = (
    *("engine", "turns", "tok/s", "p25", "p75", "over our greedy", "tok/s behind the first"),
    *("tok per core second", "equal", "near ties", "refused"),
)


def peers_study(
    results: Sequence[TurnResult],
    settings: Mapping[str, Mapping[str, Any]],
    limits: Mapping[str, float] | None = None,
) -> Study:
    """Return the study of all engines.

    Args:
        results: Of finished turns.
        settings: Of each peer, as it stated them.
        limits: What the machine allows at most, as `measure_limits` gives it.
    """
    groups = by_proposer(results)
    first = next(iter(groups.values()))
    greedy = [[result.baseline for result in turn] for turn in by_turn(first)]
    base = _over(greedy, lambda decoded: decoded.tokens_per_second)
    rows = [_row(f"{OURS}:greedy", greedy, base, ["equal"] * len(first))]
    for name, group in groups.items():
        counted = by_turn([result for result in group if result.counts])
        decoded = [[result.speculative for result in turn] for turn in counted]
        shown = name if ":" in name else f"{OURS}:{name}"
        rows.append(_row(shown, decoded, base, [result.match.kind for result in group]))
    note = (
        "mean over turns of the median of repetitions; a turn with another text counts for no speed; "
        "core seconds are those of all threads of a side's process"
    )
    return Study(
        name="peers",
        title="Engines side by side",
        text=(
            "Same pair, prompts, machine and run; who is first rotates by turn and repetition.",
            "Each peer runs in its own environment and times its own call; texts are compared with ours.",
            *(f"{name}: {_words(each)}" for name, each in settings.items()),
        ),
        tables=(Table("Engines", COLUMNS, tuple(rows), note), *_limits(results, limits)),
        plots=(Plot("bar", "Tokens a second", "", "tok/s", (_bars(rows),)),),
        num_refused=sum(not result.counts for result in results),
    )


def _limits(results: Sequence[TurnResult], limits: Mapping[str, float] | None) -> tuple[Table, ...]:
    """Return our own speeds beside the limits, those of the first proposer of ours."""
    own = [result for result in results if result.counts and ":" not in result.proposer]
    own = [result for result in own if result.proposer == own[0].proposer]
    if limits is None or not own:
        return ()

    def speed(side: str) -> float:
        turns = [[getattr(result, side) for result in turn] for turn in by_turn(own)]
        return mean(_over(turns, lambda decoded: _inverse(decoded.seconds_per_token)))

    decoded = [result.speculative for result in own]
    num_steps = sum(len(each.num_accepted) for each in decoded)
    per_step = sum(len(each.token_ids) - 1 for each in decoded) / num_steps if num_steps else 1.0
    sides = {"greedy": (speed("baseline"), 1.0), "speculative": (speed("speculative"), per_step)}
    return (limits_table(limits, sides),)


def _row(
    name: str, turns: Sequence[Sequence[Decoded]], base: Sequence[float], kinds: Sequence[str]
) -> tuple[Cell, ...]:
    speeds = _over(turns, lambda decoded: decoded.tokens_per_second)
    later = _over(turns, lambda decoded: _inverse(decoded.seconds_per_token))
    worked = _over(turns, _tokens_per_core_second)
    low, high = map(float, np.percentile(speeds, (25, 75))) if speeds else (None, None)
    texts = tuple(kinds.count(kind) for kind in ("equal", "near_tie", "different"))
    speed = mean(speeds)
    return (name, len(speeds), speed, low, high, speed / mean(base), mean(later), mean(worked), *texts)


def _over(turns: Sequence[Sequence[Decoded]], value: Callable[[Decoded], float | None]) -> list[float]:
    """Return the median of each turn's repetitions, of turns that have one."""
    known = [[number for number in map(value, turn) if number is not None] for turn in turns]
    return [float(np.median(numbers)) for numbers in known if numbers]


def _tokens_per_core_second(decoded: Decoded) -> float | None:
    worked = decoded.processor_seconds
    return len(decoded.token_ids) / worked if worked else None


def _inverse(seconds: float | None) -> float | None:
    return 1.0 / seconds if seconds else None


def _bars(rows: Sequence[tuple[Cell, ...]]) -> Series:
    return Series("engines", tuple(row[0] for row in rows), tuple(row[2] for row in rows))


def _words(settings: Mapping[str, Any]) -> str:
    """Return settings and versions as one line; peers state what they like."""
    stated = {key: value for key, value in settings.items() if key != "versions"}
    found = settings.get("versions")
    versions = found if isinstance(found, dict) else {}
    return ", ".join(f"{key} {value}" for key, value in {**versions, **stated}.items())
