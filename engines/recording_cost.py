"""What recording costs the thread of a real engine, as a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from engines.installed import recording
from engines.scenarios import COMMON, ENVIRONMENT
from workbench.adapters.vllm.settings import LEVEL, MODE

COSTS: Final = "costs"
"""Name by which `python -m engines` is asked for it."""
OPTIONS: Final[dict[str, Any]] = {
    **COMMON,
    "max_model_len": 128,
    "max_num_seqs": 256,
    "max_num_batched_tokens": 4096,
    "num_gpu_blocks_override": 1100,
    "speculative_config": {
        "method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 3, "prompt_lookup_min": 1,
    },
}  # fmt: skip
SECONDS: Final = 600


def print_costs(python: Path, folder: Path, pair: tuple[Path, Path]) -> None:
    """Measure with the recorder's default settings, and print a line for each number of requests."""
    file = folder / "costs.json"
    file.write_text(json.dumps({"model": str(pair[0]), **OPTIONS}))
    asked = {**ENVIRONMENT, **recording(folder, folder / COSTS)}
    asked |= {LEVEL: "basic", MODE: os.environ.get(MODE) or "ring"}
    command = [str(python), str(Path(__file__).with_name("costs.py")), str(file)]
    print("| requests | launches | all | of it clones and top-K | aim | whole launch |\n" + "|---" * 6 + "|")
    with subprocess.Popen(command, env={**os.environ, **asked}, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith("{"):
                print(cost_line(json.loads(line)), flush=True)
    if process.returncode:
        print(f"costs: the engine ended with {process.returncode}", file=sys.stderr)


def cost_line(facts: dict[str, float]) -> str:
    """Return the line of one number of requests, in milliseconds of processor time a launch."""
    aim = 0.2 + 0.01 * facts["requests"]
    figures = (facts["recording"], facts["copies"], aim, facts["engine"])
    numbers = " | ".join(f"{each:.2f}" for each in figures)
    return f"| {facts['requests']:.0f} | {facts['launches']:.0f} | {numbers} |"
