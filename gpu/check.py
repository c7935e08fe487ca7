"""Run the plan, keep what came of it with versions, and say it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gpu.plan import Step
from workbench.npu.doctor import versions
from workbench.npu.verified import FORMAT, RECORD

BUDGET_S: Final = 450.0
"""Seconds for everything; steps that do not fit any more are not run, and the record says so."""
SAID: Final = 300
"""Longest part of a message that is kept."""

Run = Callable[[Step, float], tuple[int, str, str]]


def device_name() -> str:
    """Return the name of the CUDA device, or nothing where torch has none."""
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ""


def checked(plan: Iterable[Step], device: str, run: Run, budget_s: float = BUDGET_S) -> dict[str, Any]:
    """Return the record of a plan that was run.

    Args:
        plan: The steps.
        device: Name of the device.
        run: Runs a step within a limit; returns exit code, standard output and the end of the messages.
        budget_s: Seconds for all steps.
    """
    start = time.monotonic()
    done: list[dict[str, Any]] = []
    for step in plan:
        left = budget_s - (time.monotonic() - start)
        if left < 5.0:
            done.append({"step": step.name, "status": "not run", "said": "no time was left"})
            continue
        before = time.monotonic()
        code, out, messages = run(step, min(step.seconds, left))
        passed = code == step.exit_code
        done.append(
            {
                "step": step.name,
                "status": "passed" if passed else "failed",
                "exit_code": code,
                "seconds": round(time.monotonic() - before, 1),
                "said": _said(out) if passed else (messages or out)[-SAID:],
            }
        )
    return {
        "format": FORMAT,
        "device": device,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version for name, version in versions().items() if version} | {"cuda": _cuda()},
        "steps": done,
    }


def _cuda() -> str | None:
    import torch

    return str(torch.version.cuda) if torch.version.cuda else None


def _said(out: str) -> str:
    """Return what a passed step says in one line: the verdict of a decode, or a count of what was held."""
    try:
        data = json.loads(out)
    except ValueError:
        return ""
    if isinstance(data, dict) and "verdict" in data:
        return f"{data['verdict']}, {data.get('steps')} steps, {data.get('near_ties')} near ties"
    rows = data["operators"] if isinstance(data, dict) and "operators" in data else data
    return f"{len(rows)} rows" if isinstance(rows, list) else ""


def in_process(step: Step, seconds: float) -> tuple[int, str, str]:
    """Run a step as a command of its own; 124 where it has no end."""
    words = [sys.executable, "-m", "specwb", *step.words]
    if step.words[0] == "diff":
        words += ["--out", str(Path("runs") / f"cuda-{time.time_ns()}")]
    environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"no end within {seconds:.0f} s"
    return done.returncode, done.stdout, done.stderr


def keep(record: dict[str, Any], file: Path = RECORD) -> None:
    """Write the record where `doctor` reads it."""
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
