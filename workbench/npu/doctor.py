"""What `specwb doctor` says about this machine, as data; the command only prints it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from tracing.errors import EnvironmentProblemError
from workbench.npu.bootstrap import WayIn, bootstrap
from workbench.npu.capability import Capability, Platform, capabilities
from workbench.npu.contradictions import CONTRADICTIONS, Contradiction
from workbench.npu.machine import cann_version
from workbench.npu.schemas import PINNED_VERSION, pinned_schemas
from workbench.npu.shadowing import Shadow, shadows
from workbench.npu.stub.build import find_compiler

PACKAGES: Final = (
    "specwb",
    "numpy",
    "pyarrow",
    "torch",
    "torch_npu",
    "transformers",
    "tokenizers",
    "safetensors",
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that is, or is not, verified on this machine.

    Attributes:
        what: The claim, one line.
        verified: Whether this machine shows it.
        how: What shows it, or what is missing.
    """

    what: str
    verified: bool
    how: str


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that `doctor` knows of the Ascend side.

    Attributes:
        versions: Package or tool to version; None when it is not installed.
        way: The way in to the operators, or None with the reason in `no_way`.
        no_way: Why there is no way in, or empty.
        platform: What the capability table was asked for.
        capabilities: What the platform can do, by name.
        shadows: Folders that hide one of our packages.
        drifted: Operators whose schema in this process differs from the pinned one.
        statements: What is and what is not verified here.
    """

    versions: Mapping[str, str | None]
    way: WayIn | None
    no_way: str
    platform: Platform
    capabilities: Mapping[str, Capability]
    shadows: tuple[Shadow, ...]
    drifted: tuple[str, ...]
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The outcome of one experiment.

    Attributes:
        contradiction: The question.
        status: `settled`, `open` (observed something that no source claims), `failed` or `not run`.
        observed: What was seen, or why nothing was.
        agrees: The observation is what the twin follows; None when nothing was observed.
    """

    contradiction: Contradiction
    status: str
    observed: str
    agrees: bool | None = None


def examine(way: str = "auto") -> Examination:
    """Look at this machine; takes a way in, and says so when there is none."""
    try:
        taken, no_way = bootstrap(way), ""
    except EnvironmentProblemError as closed:
        taken, no_way = None, str(closed)
    drifted = _drifted() if taken and taken.torch_npu else ()
    where = Platform(taken.soc if taken else None, cann_version(), taken.torch_npu if taken else None)
    return Examination(
        versions=versions(),
        way=taken,
        no_way=no_way,
        platform=where,
        capabilities=capabilities(where),
        shadows=shadows(),
        drifted=drifted,
        statements=_statements(taken, drifted),
    )


def versions() -> Mapping[str, str | None]:
    """Return the versions of Python, the packages that matter, CANN and the C compiler's path."""
    found: dict[str, str | None] = {"python": platform.python_version(), "machine": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    found["CANN"] = cann_version()
    try:
        found["C compiler"] = find_compiler()
    except EnvironmentProblemError:
        found["C compiler"] = None
    return found


def probe(
    way: WayIn, *, timeout: float = 120.0, run: Callable[[str, float], str] | None = None
) -> tuple[ProbeResult, ...]:
    """Settle each contradiction by a small experiment on the device, or say "not run".

    Args:
        way: The way in; experiments need `device`.
        timeout: Seconds for one experiment.
        run: Runs the probe of a key and returns what it observed; a process of its own when None.
    """
    if way.name != "device":
        reason = f"needs an Ascend device; the way in is {way.name} ({way.why})"
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


def _drifted() -> tuple[str, ...]:
    """Return our operators whose registered schema is not the pinned one, sorted."""
    from workbench.npu.ops.table import TWINS
    from workbench.npu.ways import registered_schema

    return tuple(sorted(name for name in TWINS if registered_schema(name) != pinned_schemas().get(name)))


def _statements(way: WayIn | None, drifted: tuple[str, ...]) -> tuple[Statement, ...]:
    on_device = way is not None and way.name == "device"
    real_wheel = way is not None and way.torch_npu is not None
    no_device = "no Ascend device in this process"
    return (
        Statement(
            "operator calls are checked against the documented contracts",
            way is not None and not on_device,
            _contract_evidence(way),
        ),
        Statement(
            "operator schemas are the vendor's own",
            real_wheel and not drifted,
            _schema_evidence(way, drifted),
        ),
        Statement(
            "results are computed by Ascend kernels",
            on_device,
            "the device's kernels run" if on_device else f"{no_device}; the documented rounding is emulated",
        ),
        Statement(
            "the vendor's contradictions are settled",
            False,
            "run doctor --probe" if on_device else f"{no_device}; {len(CONTRADICTIONS)} questions stay open",
        ),
        Statement(
            "speed means anything",
            on_device,
            "kernels run on the device" if on_device else f"{no_device}; times are the host's",
        ),
    )


def _contract_evidence(way: WayIn | None) -> str:
    if way is None:
        return "no way in"
    if way.name == "device":
        return "the device's own kernels run; their calls are checked inside workbench.npu.watch"
    return "the twin checks every call before it computes"


def _schema_evidence(way: WayIn | None, drifted: tuple[str, ...]) -> str:
    if way is None or way.torch_npu is None:
        return f"torch_npu is not imported; schemas pinned from {PINNED_VERSION} are used"
    if drifted:
        return f"torch_npu {way.torch_npu} differs from the pinned {PINNED_VERSION} in {', '.join(drifted)}"
    return f"torch_npu {way.torch_npu} registers exactly the pinned schemas of {PINNED_VERSION}"
