"""Run the experiments and compare what they observed with what the sources claim."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tracing.errors import EnvironmentProblemError
from workbench.npu.bootstrap import Backend
from workbench.npu.contradictions import Contradiction
from workbench.npu.probes import CONTRADICTIONS


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The outcome of one experiment.

    Attributes:
        contradiction: The question.
        status: `settled`, `open` (observed something that no source claims), `failed` or `not run`.
        observed: What was observed, or why nothing was.
        agrees: The observation is what the emulation follows; None when nothing was observed.
    """

    contradiction: Contradiction
    status: str
    observed: str
    agrees: bool | None = None


def probe(
    backend: Backend, *, timeout: float = 120.0, run: Callable[[str, float], str] | None = None
) -> tuple[ProbeResult, ...]:
    """Settle each contradiction by a small experiment on the device, or report "not run".

    Args:
        backend: The backend; experiments need `device`.
        timeout: Seconds for one experiment.
        run: Runs the probe of a key and returns what it observed; a separate process when None.
    """
    if backend.name != "device":
        reason = f"needs an Ascend device; the backend is {backend.name} ({backend.why})"
        return tuple(ProbeResult(question, "not run", reason) for question in CONTRADICTIONS)
    return tuple(_probe_one(question, run or _in_own_process, timeout) for question in CONTRADICTIONS)


def _probe_one(question: Contradiction, run: Callable[[str, float], str], timeout: float) -> ProbeResult:
    try:
        observed = run(question.key, timeout)
    except EnvironmentProblemError as failed:
        return ProbeResult(question, "failed", str(failed))
    claimed = observed in {claim.observation for claim in question.claims}
    return ProbeResult(question, "settled" if claimed else "open", observed, observed == question.followed)


def _in_own_process(key: str, timeout: float) -> str:
    """Run one probe on the device; a kernel fault or a hang then costs this experiment only."""
    command = [sys.executable, "-m", "workbench.npu.probes", key, "npu:0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise EnvironmentProblemError(f"probe {key} gave no answer in {timeout:g} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentProblemError(f"probe {key} ended with exit code {done.returncode}: {last[:200]}")
    return str(json.loads(done.stdout.strip().splitlines()[-1])["observed"])
