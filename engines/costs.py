"""Measures, inside an engine's environment, what recording costs its thread: `costs.py JOB.json`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BATCHES = (1, 8, 64, 256)
TOKENS = 16
ROUNDS = 3


def measured(options: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Yield, for each number of requests, launches and milliseconds of recording and of all, a launch.

    The first round of each number warms up; of the others the median counts.
    """
    import vllm
    from vllm.v1.engine.core import EngineCore

    from workbench.adapters.vllm.patches import Meter

    launches = 0
    original = EngineCore.step

    def counted(core: Any) -> Any:
        nonlocal launches
        launches += 1
        return original(core)

    EngineCore.step = counted
    engine = vllm.LLM(**options)
    for batch in BATCHES:
        prompts = [f"def function_{number}(left, right):\n    return" for number in range(batch)]
        asked = vllm.SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
        rounds = []
        for _ in range(1 + ROUNDS):
            launches, hooks, device = 0, Meter.nanoseconds, Meter.device_nanoseconds
            begun = time.thread_time_ns()
            engine.generate(prompts, asked, use_tqdm=False)
            spent = time.thread_time_ns() - begun
            rounds.append(
                {
                    "requests": batch,
                    "launches": launches,
                    "recording": (Meter.nanoseconds - hooks) / launches / 1e6,
                    "copies": (Meter.device_nanoseconds - device) / launches / 1e6,
                    "engine": spent / launches / 1e6,
                }
            )
        yield sorted(rounds[1:], key=lambda each: each["recording"])[ROUNDS // 2]


if __name__ == "__main__":
    for line in measured(json.loads(Path(sys.argv[1]).read_text())):
        print(json.dumps(line), flush=True)
