"""What `specwb doctor` reports about this machine, as data; the command only prints it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from tracing.errors import EnvironmentProblemError
from workbench.npu.bootstrap import Backend, bootstrap
from workbench.npu.capability import Capability, Platform, capabilities, this_platform
from workbench.npu.machine import cann_version
from workbench.npu.probes import CONTRADICTIONS
from workbench.npu.probes.run import ProbeResult, probe
from workbench.npu.schemas import PINNED_VERSION, pinned_schemas
from workbench.npu.shadowing import Shadow, shadows
from workbench.npu.stub.build import find_compiler
from workbench.npu.verified import cuda_evidence, cuda_record

__all__ = ["Examination", "ProbeResult", "Statement", "examine", "probe", "versions"]

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
        backend: The backend of the operators, or None with the reason in `no_backend`.
        no_backend: Why there is no backend, or empty.
        platform: What the capability table was asked for.
        capabilities: What the platform can do, by name.
        shadows: Folders that hide one of our packages.
        drifted: Operators whose schema in this process differs from the pinned one.
        statements: What is and what is not verified here.
    """

    versions: Mapping[str, str | None]
    backend: Backend | None
    no_backend: str
    platform: Platform
    capabilities: Mapping[str, Capability]
    shadows: tuple[Shadow, ...]
    drifted: tuple[str, ...]
    statements: tuple[Statement, ...]


def examine(backend: str = "auto") -> Examination:
    """Examine this machine; chooses a backend, and gives the reason when there is none."""
    try:
        chosen, no_backend = bootstrap(backend), ""
    except EnvironmentProblemError as unavailable:
        chosen, no_backend = None, str(unavailable)
    drifted = _drifted() if chosen and chosen.torch_npu else ()
    where = this_platform()
    return Examination(
        versions=versions(),
        backend=chosen,
        no_backend=no_backend,
        platform=where,
        capabilities=capabilities(where),
        shadows=shadows(),
        drifted=drifted,
        statements=_statements(chosen, drifted),
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


def _drifted() -> tuple[str, ...]:
    """Return our operators whose registered schema is not the pinned one, sorted."""
    from workbench.npu.backends import registered_schema
    from workbench.npu.operators import OPERATORS

    return tuple(sorted(name for name in OPERATORS if registered_schema(name) != pinned_schemas().get(name)))


def _statements(backend: Backend | None, drifted: tuple[str, ...]) -> tuple[Statement, ...]:
    on_device = backend is not None and backend.name == "device"
    real_wheel = backend is not None and backend.torch_npu is not None
    no_device = "no Ascend device in this process"
    return (
        Statement(
            "operator calls are checked against the documented contracts",
            backend is not None and not on_device,
            _contract_evidence(backend),
        ),
        Statement(
            "operator schemas are the vendor's own",
            real_wheel and not drifted,
            _schema_evidence(backend, drifted),
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
        Statement("both paths and the operators agree on a CUDA device", *_cuda_evidence()),
        Statement(
            "speed means anything",
            on_device,
            "kernels run on the device" if on_device else f"{no_device}; times are the host's",
        ),
    )


def _cuda_evidence() -> tuple[bool, str]:
    """Return what `make test-cuda` kept, held against this machine."""
    try:
        import torch
    except ImportError:
        return cuda_evidence(cuda_record(), "", None)
    here = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return cuda_evidence(cuda_record(), here, str(torch.__version__))


def _contract_evidence(backend: Backend | None) -> str:
    if backend is None:
        return "no backend"
    if backend.name == "device":
        return "the device's own kernels run; their calls are checked inside workbench.npu.watch"
    return "the emulation checks every call before it computes"


def _schema_evidence(backend: Backend | None, drifted: tuple[str, ...]) -> str:
    if backend is None or backend.torch_npu is None:
        return f"torch_npu is not imported; schemas pinned from {PINNED_VERSION} are used"
    if drifted:
        return (
            f"torch_npu {backend.torch_npu} differs from the pinned {PINNED_VERSION} in {', '.join(drifted)}"
        )
    return f"torch_npu {backend.torch_npu} registers exactly the pinned schemas of {PINNED_VERSION}"
