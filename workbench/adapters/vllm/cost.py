"""What recording costs the thread of an engine, and whether that is more than it may."""

from __future__ import annotations

import time
from typing import Any, Final

from workbench.adapters.vllm.patches import Meter

WINDOW: Final = 64
"""Launches over which the share of time is taken."""


class HookCost:
    """Processor time of the hooks of this process, over launches and their requests."""

    def __init__(self) -> None:
        self._num_launches, self._num_rows, self._share = 0, 0, 0.0
        self._window = (time.perf_counter_ns(), Meter.nanoseconds)

    def add(self, num_rows: int) -> None:
        """Count a launch."""
        self._num_launches += 1
        self._num_rows += num_rows
        if self._num_launches % WINDOW == 0:
            now = (time.perf_counter_ns(), Meter.nanoseconds)
            self._share = (now[1] - self._window[1]) / max(now[0] - self._window[0], 1)
            self._window = now

    def is_above(self, budget: float) -> bool:
        """Return whether the hooks took more than this share of the time of the last launches."""
        return self._share > budget

    def facts(self) -> dict[str, Any]:
        """Return the numbers for the trace."""
        return {
            "launches": self._num_launches,
            "rows": self._num_rows,
            "milliseconds": round(Meter.nanoseconds / 1e6, 3),
        }
