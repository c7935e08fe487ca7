"""Engines side by side: tokens a second, and for each core, whose text is the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from workbench.bench.stats import mean
from workbench.bench.summary import by_proposer, by_turn
from workbench.bench.tables import Cell, Plot, Series, Study, Table
from workbench.bench.turn import TurnResult

OURS: Final = "specwb"
COLUMNS: Final = (
    *("engine", "turns", "tok/s", "p25", "p75", "tok/s a core", "over our greedy"),
    *("equal", "near ties", "refused"),
)


def peers_study(
    results: Sequence[TurnResult], settings: Mapping[str, Mapping[str, Any]], threads: int
) -> Study:
    """Return the study of all engines.

    Args:
        results: Of finished turns.
        settings: Of each peer, as it stated them.
        threads: Of ours.
    """
    groups = by_proposer(results)
    first = next(iter(groups.values()))
    base = [
        float(np.median([result.baseline.tokens_per_second for result in turn])) for turn in by_turn(first)
    ]
    own = mean(base)
    rows = [_row(f"{OURS}:greedy", base, threads, own, ["equal"] * len(first))]
    for name, group in groups.items():
        shown = name if ":" in name else f"{OURS}:{name}"
        counted = by_turn([result for result in group if result.counts])
        speeds = [
            float(np.median([result.speculative.tokens_per_second for result in turn])) for turn in counted
        ]
        cores = settings.get(name, {}).get("threads", threads)
        kinds = [result.match.kind for result in group]
        rows.append(_row(shown, speeds, cores if type(cores) is int else threads, own, kinds))
    note = "mean over turns of the median of repetitions; a turn with another text counts for no speed"
    return Study(
        name="peers",
        title="Engines side by side",
        text=(
            "Same pair, prompts, machine and run; who is first rotates by turn and repetition.",
            "Each peer runs in its own environment and times its own call; texts are compared with ours.",
            *(f"{name}: {_words(each)}" for name, each in settings.items()),
        ),
        tables=(Table("Engines", COLUMNS, tuple(rows), note),),
        plots=(Plot("bar", "Tokens a second", "", "tok/s", (_bars(rows),)),),
        num_refused=sum(not result.counts for result in results),
    )


def _row(
    name: str, speeds: Sequence[float], cores: int, own: float, kinds: Sequence[str]
) -> tuple[Cell, ...]:
    low, high = map(float, np.percentile(speeds, (25, 75))) if speeds else (None, None)
    speed = mean(speeds)
    texts = tuple(kinds.count(kind) for kind in ("equal", "near_tie", "different"))
    return (name, len(speeds), speed, low, high, speed / max(cores, 1), speed / own, *texts)


def _bars(rows: Sequence[tuple[Cell, ...]]) -> Series:
    return Series("engines", tuple(row[0] for row in rows), tuple(row[2] for row in rows))


def _words(settings: Mapping[str, Any]) -> str:
    """Return settings and versions as one line; peers state what they like."""
    stated = {key: value for key, value in settings.items() if key != "versions"}
    found = settings.get("versions")
    versions = found if isinstance(found, dict) else {}
    return ", ".join(f"{key} {value}" for key, value in {**versions, **stated}.items())
