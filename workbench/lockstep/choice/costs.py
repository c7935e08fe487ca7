"""What a step costs: drafting by depth and width, all else by nodes; and a token without speculation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, NullWatch
from workbench.lockstep.choice.decoders import Decoder, Stopwatch
from workbench.lockstep.engine.step import NullObserver, run_prefill, run_step
from workbench.lockstep.engine.under_test import PathUnderTest

NODES: Final = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
WIDTHS: Final = (1, 2, 3, 4, 6, 8, 10)
DEPTHS: Final = (1, 6)
STEPS: Final = 5
ROUNDS: Final = 3
QUIET: Final = 0.2
"""Quantile of repeated times that is taken: disturbance only ever adds to a time."""


@dataclass(frozen=True, slots=True)
class StepCosts:
    """Measurements times in seconds.

    Attributes:
        token: One token of teacher-only greedy decoding.
        verify: Rows N to everything in a step but the draft: tensorize, verify, accept, commit.
        draft: Beams K to `(first, level)`: feeding the committed rows with the first level, and each further
            level. K is 0 where the draft was measured with its own shape alone.
    """

    token: float
    verify: dict[int, float]
    draft: dict[int, tuple[float, float]]

    def step(self, settings: DecodeSettings, alone: float = 0.0, expansions: float | None = None) -> float:
        """Return what a step with these settings should take; rows in between are interpolated.

        Args:
            settings: Of the draft.
            alone: Share of the steps whose draft is the root alone, in one row.
            expansions: Mean number of them after the first level, where searches may end early.
        """
        first, level = self.draft[0 if 0 in self.draft else settings.top_k]
        rest = (1.0 - alone) * self._rest(settings.tree_nodes) + alone * self._rest(1)
        return first + (settings.depth if expansions is None else expansions) * level + rest

    def _rest(self, rows: int) -> float:
        measured = sorted(self.verify)
        return float(np.interp(rows, measured, [self.verify[each] for each in measured]))

    def speedup(self, accepted: float, step_seconds: float) -> float:
        """Return tokens per second over those of greedy decoding, prefill left out."""
        return (accepted + 1) * self.token / step_seconds

    def as_json(self) -> dict[str, Any]:
        """Return plain data, in milliseconds."""
        return {
            "token_ms": 1e3 * self.token,
            "verify_ms": {str(nodes): 1e3 * seconds for nodes, seconds in self.verify.items()},
            "draft_ms": {
                str(top_k): {"first": 1e3 * first, "level": 1e3 * level}
                for top_k, (first, level) in self.draft.items()
            },
        }


MakePath = Callable[[DecodeSettings], DecodePath]


def measure_costs(
    make_path: MakePath, greedy: Decoder, prompt: Sequence[int], stopwatch: Stopwatch, max_top_k: int
) -> StepCosts:
    """Measure on one prompt, configurations in turn, so that a slow moment hits all alike.

    `greedy` runs on the same engine as the paths; the draft vocabulary allows no more than `max_top_k` beams.
    """
    widths = [width for width in WIDTHS if width <= max_top_k]
    most = max(widths)
    wide = [DecodeSettings(tree_nodes=n, depth=_depth_for(n, most), top_k=most) for n in NODES]
    narrow = [
        DecodeSettings(tree_nodes=min(4, depth + 2), depth=depth, top_k=width)
        for width in widths
        for depth in DEPTHS
    ]
    verify: dict[int, list[float]] = defaultdict(list)
    draft: dict[tuple[int, int], list[float]] = defaultdict(list)
    token: list[float] = []
    for _ in range(ROUNDS):
        token += _token_times(greedy, prompt)
        for settings in (*wide, *narrow):
            for drafting, rest in step_times(make_path(settings), prompt, stopwatch):
                draft[settings.top_k, settings.depth].append(drafting)
                if settings in wide:
                    verify[settings.tree_nodes].append(rest)
    return StepCosts(
        token=quiet(token),
        verify={nodes: quiet(times) for nodes, times in verify.items()},
        draft={width: _line(width, draft) for width in widths},
    )


def quiet(times: Sequence[float]) -> float:
    """Return the time that is taken for repeated ones."""
    return float(np.quantile(times, QUIET))


def _depth_for(nodes: int, top_k: int) -> int:
    """Return the least depth whose candidates fill a tree of so many nodes."""
    depth = 0
    while 1 + top_k + depth * top_k * top_k < nodes:
        depth += 1
    return depth


def _line(width: int, draft: dict[tuple[int, int], list[float]]) -> tuple[float, float]:
    """Return first and level of a width from its shallow and its deep times."""
    shallow, deep = (quiet(draft[width, depth]) for depth in DEPTHS)
    level = max(0.0, (deep - shallow) / (DEPTHS[1] - DEPTHS[0]))
    return max(0.0, shallow - DEPTHS[0] * level), level


def _token_times(greedy: Decoder, prompt: Sequence[int]) -> list[float]:
    seconds = greedy(prompt, 16).seconds_per_token
    return [] if seconds is None else [seconds]


def step_times(path: DecodePath, prompt: Sequence[int], stopwatch: Stopwatch) -> list[tuple[float, float]]:
    """Return times of some steps in seconds: of the draft, and of everything else."""
    running = PathUnderTest.begin(path, NullWatch())
    run_prefill(running, prompt)
    drafted = _Drafted(stopwatch)
    times = []
    for _ in range(STEPS + 1):
        start = stopwatch.read()
        run_step(running, 1 << 20, drafted)
        times.append((drafted.time - start, stopwatch.read() - drafted.time))
    return times[1:]  # the first draft feeds the whole prompt


class _Drafted(NullObserver):
    """Reads the stopwatch when a step has drafted."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self.time = 0.0

    def after_stage(self, stage: str, result: Any) -> None:  # noqa: ARG002 the protocol
        if stage == "draft":
            self.time = self._stopwatch.read()
