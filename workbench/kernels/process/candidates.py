"""Find a candidate by what the user named: the first gate.

`module:function`, `file.py:function` (plain Python or Triton), `file.c:function` or `file.cpp:function`,
`own` (what this process reaches the operator by: the device's kernel, or the emulation), `planted:NAME`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tracing.errors import EnvironmentProblemError, UsageError
from workbench.kernels.kernel import Kernel
from workbench.kernels.process.native import BuildError, build, load
from workbench.weights.compile_gate import SUFFIXES

OWN: Final = "own"
PLANTED: Final = "planted"
Candidate = Callable[[Kernel], Callable[..., Any]]
"""Gives the function that stands for an operator."""


def find(named: str, *, compiled: str = "", seconds: float = 120.0) -> Candidate:
    """Build or load a candidate.

    Args:
        named: See the module.
        compiled: A backend of `torch.compile` to send a Python candidate through, or empty.
        seconds: Time for a compiler.

    Raises:
        BuildError: It is found and does not build.
        UsageError: There is no such file, module or function.
        EnvironmentProblemError: What it needs is missing here.
    """
    if named == OWN:
        return _compiled(own, compiled)
    place, _, function = named.rpartition(":")
    if not place or not function:
        raise UsageError(
            f"candidate should be MODULE:FUNCTION, FILE:FUNCTION, {OWN} or {PLANTED}:NAME, got {named!r}"
        )
    if place == PLANTED:
        from workbench.kernels.planted import planted

        bug = planted(function)
        return lambda _: bug.function
    path = Path(place)
    if path.suffix in SUFFIXES:
        return load(build(_existing(path), seconds=seconds), function)
    module = _from_file(_existing(path)) if path.suffix == ".py" else _from_name(place)
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(f"{place} has no function {function}")
    return _compiled(lambda _: found, compiled)


def own(kernel: Kernel) -> Callable[..., Any]:
    """Return what this process reaches an operator by."""
    if kernel.own is not None:
        return kernel.own
    from workbench.npu import dispatch

    namespace, _, name = kernel.operator.partition("::")
    return dispatch.operator(name, namespace)


def _compiled(candidate: Candidate, backend: str) -> Candidate:
    if not backend:
        return candidate
    import torch

    return lambda kernel: torch.compile(candidate(kernel), backend=backend)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"candidate file {path} is not there")
    return path


def _from_file(path: Path) -> Any:
    name = f"candidate_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    return _imported(lambda: spec.loader.exec_module(module) or module, str(path))  # type: ignore[union-attr]  # checked above


def _from_name(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise UsageError(
            f"candidate module {name} is not there; it is looked for in this folder and on the path"
        )
    return _imported(lambda: importlib.import_module(name), name)


def _imported(run: Callable[[], Any], named: str) -> Any:
    try:
        return run()
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in {"triton", "torch_npu"}:
            raise EnvironmentProblemError(f"{named} needs {missing.name}, which is not installed") from None
        raise BuildError(f"{named} does not import: {missing}") from missing
    except Exception as error:
        raise BuildError(f"{named} does not import: {type(error).__name__}: {error}") from error
