"""Engines side by side: tokens a second, and for each core, whose text is the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from workbench.bench.stats import Distribution
from workbench.bench.summary import by_proposer, by_turn, summarize
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
    rows, bars = [], {}
    first = next(iter(groups.values()))
    own = summarize(first).baseline.tokens_per_second.mean
    base = [group[0].baseline.tokens_per_second for group in by_turn([each for each in first if each.counts])]
    rows.append(_row(f"{OURS}:greedy", base, threads, own, len(first), 0, 0))
    bars[f"{OURS}:greedy"] = own
    for name, group in groups.items():
        shown = name if ":" in name else f"{OURS}:{name}"
        counted = by_turn([result for result in group if result.counts])
        speeds = [
            float(Distribution.of(r.speculative.tokens_per_second for r in turn).p50) for turn in counted
        ]
        cores = int(settings.get(name, {}).get("threads", threads))
        kinds = [result.match.kind for result in group]
        numbers = (kinds.count("equal"), kinds.count("near_tie"), kinds.count("different"))
        rows.append(_row(shown, speeds, cores, own, *numbers))
        bars[shown] = Distribution.of(speeds).mean
    note = "tok/s is the mean over turns of the median of repetitions; a turn with another text counts for no speed"
    stated = tuple(
        (
            name,
            ", ".join(f"{key} {value}" for key, value in each.items() if key != "versions"),
            _versions(each),
        )
        for name, each in settings.items()
    )
    return Study(
        name="peers",
        title="Engines side by side",
        text=(
            "Same pair, prompts, machine and run; who is first rotates by turn and repetition. Each peer runs in its "
            "own environment and times its own call; texts are compared with our teacher-only decoding.",
        ),
        tables=(
            Table("Engines", COLUMNS, tuple(rows), note),
            Table("Settings as they were stated", ("engine", "settings", "versions"), stated),
        ),
        plots=(
            Plot(
                "bar", "Tokens a second", "", "tok/s", (Series("engines", tuple(bars), tuple(bars.values())),)
            ),
        ),
        num_refused=sum(not result.counts for result in results),
    )


def _row(
    name: str, speeds: Sequence[float], cores: int, own: float, equal: int, ties: int, refused: int
) -> tuple[Cell, ...]:
    import numpy as np

    low, high = (float(each) for each in np.percentile(speeds, (25, 75))) if speeds else (0.0, 0.0)
    speed = Distribution.of(speeds).mean
    return (name, len(speeds), speed, low, high, speed / max(cores, 1), speed / own, equal, ties, refused)


def _versions(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in dict(settings.get("versions", {})).items())
