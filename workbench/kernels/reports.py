"""What the three gates say of an operator and a candidate, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.kernels.call import CaseResult
from workbench.kernels.process.limits import Limits

Status = Literal["passed", "refused", "not run"]


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate of one operator."""

    status: Status
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelReport:
    """What the gates say of one operator and candidate.

    Attributes:
        candidate: As the user named it.
        build, correctness, performance: The gates.
        results: Every case that was judged.
        timing: What `timing.timed` measured, or empty.
    """

    kernel: str
    level: int
    candidate: str
    build: Gate
    correctness: Gate = field(default_factory=lambda: Gate("not run"))
    performance: Gate = field(default_factory=lambda: Gate("not run"))
    results: tuple[CaseResult, ...] = ()
    timing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether a gate was not passed."""
        return "refused" in {self.build.status, self.correctness.status, self.performance.status}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """How candidates are run.

    Attributes:
        seeds: Of the inputs; every case is run with each.
        cases: Names of cases, all of them when empty.
        compiled: A backend of `torch.compile`, or empty.
        measure_s: Seconds for the third gate of an operator; 0 leaves it out.
        least_speedup: Speed-up over plain torch that the third gate asks for; 0 asks for none.
        keep: Folder for the results, or None.
    """

    device: str = "cpu"
    seeds: tuple[int, ...] = (0,)
    cases: tuple[str, ...] = ()
    compiled: str = ""
    limits: Limits = field(default_factory=Limits)
    measure_s: float = 1.0
    least_speedup: float = 0.0
    keep: Path | None = None
