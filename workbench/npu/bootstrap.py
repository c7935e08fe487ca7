"""Choose the backend of Ascend's operators, once per process and before torch is imported.

1. `device`: a real device with CANN. 2. `wheel`: the real torch_npu wheel over generated stub libraries.
3. `schemas`: pinned schema strings on plain torch. The same fused code runs on all three. The order of
imports matters: torch loads an installed torch_npu by itself, which fails without CANN.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any, Final, get_args

from tracing.errors import EnvironmentProblemError, UsageError
from tracing.settings import BackendName
from workbench.npu.machine import Package, device_nodes, find_package, require_matching
from workbench.npu.stub.build import preload, stub_folder

BACKEND_VARIABLE: Final = "SPECWB_NPU_BACKEND"
OLD_VARIABLE: Final = "SPECWB_NPU_WAY"
"""Earlier name of the variable, still read."""
_AUTOLOAD: Final = "TORCH_DEVICE_BACKEND_AUTOLOAD"
_ASCEND_HOME: Final = "ASCEND_HOME_PATH"
_PASSIVE: Final = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
"""Threads that wait for work sleep. By default they spin, and on a machine that does anything else a judged
step then takes several times the processor (measured on two cores)."""


@dataclass(frozen=True, slots=True)
class Backend:
    """How this process reaches the operators; part of every manifest.

    Attributes:
        name: `device`, `wheel` or `schemas`.
        why: Why this backend, and why none before it; one line.
        torch_npu: Version of the imported wheel, or None.
        num_devices: Ascend devices that can be used.
        soc: Name of the chip, e.g. `Ascend910B3`, or None without a device.
    """

    name: str
    why: str
    torch_npu: str | None = None
    num_devices: int = 0
    soc: str | None = None

    def as_json(self) -> Mapping[str, Any]:
        """Return plain data for a manifest."""
        return asdict(self)


_chosen: list[Backend] = []


def current() -> Backend | None:
    """Return the backend that this process uses, or None before `bootstrap`."""
    return _chosen[0] if _chosen else None


def bootstrap(backend: str = "auto", *, passive: bool = True) -> Backend:
    """Choose a backend; later calls return the same one.

    Args:
        backend: `auto`, `device`, `wheel` or `schemas`; `auto` defers to the variable `SPECWB_NPU_BACKEND`.
        passive: Threads of torch wait asleep, unless the user's environment says how they wait. Read once,
            when torch is loaded; a benchmark leaves it as it is.

    Raises:
        UsageError: No such backend.
        EnvironmentProblemError: The forced one is not available here, or another one was chosen.
    """
    asked = _asked(backend)
    chosen = current()
    if chosen is None:
        _refuse_broken_torch()
        if passive and not any(variable in os.environ for variable in _PASSIVE):
            os.environ.update(_PASSIVE)
        chosen = _automatic() if asked == "auto" else _BACKENDS[asked]("forced")
        _chosen.append(chosen)
    elif asked not in {"auto", chosen.name}:
        raise EnvironmentProblemError(
            f"backend {asked} was asked for, but this process already uses {chosen.name}; start a new process"
        )
    return chosen


def _asked(backend: str) -> str:
    environment = os.environ.get(BACKEND_VARIABLE) or os.environ.get(OLD_VARIABLE) or "auto"
    asked = environment if backend == "auto" else backend
    names = get_args(BackendName)
    if asked not in names:
        raise UsageError(
            f"backend (argument or {BACKEND_VARIABLE}) should be {', '.join(names)}, got {asked!r}"
        )
    return asked


def _automatic() -> Backend:
    """Try the backends in order; each unavailable one leaves its reason in the next one's `why`."""
    reasons: list[str] = []
    for name, enter in _BACKENDS.items():
        try:
            return enter("; ".join(reasons))
        except EnvironmentProblemError as unavailable:
            reasons.append(f"no {name}: {unavailable}")
    raise EnvironmentProblemError("no backend for the Ascend operators: " + "; ".join(reasons))


def _enter_device(why: str) -> Backend:
    """Use the device: a device node, a wheel that loads over the machine's own CANN, a device it sees."""
    nodes = device_nodes()
    if not nodes:
        raise EnvironmentProblemError("no Ascend device node (/dev/davinci*) on this machine")
    torch_npu = _import_torch_npu(_installed("torch_npu"))
    num_devices = int(torch_npu.npu.device_count())
    if num_devices == 0:
        raise EnvironmentProblemError(f"{len(nodes)} Ascend device node(s), but CANN sees no device")
    soc = str(torch_npu.npu.get_device_name(0))
    return Backend(
        "device", why or f"{num_devices} Ascend device(s)", torch_npu.__version__, num_devices, soc
    )


def _enter_wheel(why: str) -> Backend:
    """Use the wheel over stubs; one that this process imported before is used as it is."""
    wheel = _installed("torch_npu")
    how = "torch_npu was imported before"
    if "torch_npu" not in sys.modules:
        _load_stubs(wheel)
        how = "the real torch_npu over stub CANN libraries"
    torch_npu = _import_torch_npu(wheel, without_cann=True)
    return Backend("wheel", f"{why}; {how}" if why else how, torch_npu.__version__)


def _load_stubs(wheel: Package) -> None:
    torch = _installed("torch")
    require_matching(torch, wheel)
    folder = stub_folder(wheel.folder, torch.folder / "lib")
    try:
        preload(folder)
    except OSError as problem:
        raise EnvironmentProblemError(
            f"stub libraries in {folder} cannot be loaded: {problem}; delete the folder"
        ) from problem
    # Stays set, also for child processes: torch must not load the wheel before the stubs are there.
    os.environ[_AUTOLOAD] = "0"
    importlib.import_module("torch")


def _enter_schemas(why: str) -> Backend:
    """Use plain torch; an installed wheel is hidden, as transformers would try to import it and fail."""
    _installed("torch")
    os.environ[_AUTOLOAD] = "0"
    if find_package("torch_npu") is not None and "torch_npu" not in sys.modules:
        sys.modules["torch_npu"] = None  # type: ignore[assignment]  # the import system's "not there"
    importlib.import_module("torch")
    return Backend("schemas", why)


_BACKENDS: Final[Mapping[str, Callable[[str], Backend]]] = {
    "device": _enter_device,
    "wheel": _enter_wheel,
    "schemas": _enter_schemas,
}


def _installed(name: str) -> Package:
    package = find_package(name)
    if package is None:
        extra = "decode" if name == "torch" else "npu"
        raise EnvironmentProblemError(f"{name} is not installed; pip install 'specwb[{extra}]'")
    return package


def _import_torch_npu(wheel: Package, *, without_cann: bool = False) -> ModuleType:
    """Import the wheel; what it prints is kept off standard output, which is for data."""
    chatter = io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter), _ascend_home(hidden=without_cann):
            package = importlib.import_module("torch_npu")
    except Exception as problem:  # any error of the vendor's import rules out this backend only
        words = str(problem).strip().partition("\n")[0][:300]
        raise EnvironmentProblemError(f"torch_npu {wheel.version} cannot be imported: {words}") from problem
    finally:
        if not without_cann:  # over stubs it only reports that there is no CANN, which is known
            sys.stderr.write(chatter.getvalue())
    # The wheel replaces how tensors are deep-copied, by code that torch warns of; not the user's doing.
    warnings.filterwarnings("ignore", message="TypedStorage is deprecated", category=UserWarning)
    return package


def _refuse_broken_torch() -> None:
    """A failed import leaves torch half loaded, and it cannot be imported again in the same process."""
    if "torch" not in sys.modules and "torch._C" in sys.modules:
        raise EnvironmentProblemError(
            "torch was imported before bootstrap() and failed, as it loads torch_npu by itself, which needs "
            f"CANN; call bootstrap() before the first import of torch, or set {_AUTOLOAD}=0"
        )


@contextlib.contextmanager
def _ascend_home(*, hidden: bool) -> Iterator[None]:
    """Hide CANN's home while importing over stubs; if it is set, the wheel checks versions below it."""
    home = os.environ.pop(_ASCEND_HOME, None) if hidden else None
    try:
        yield
    finally:
        if home is not None:
            os.environ[_ASCEND_HOME] = home
