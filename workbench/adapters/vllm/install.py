"""Finds the engine's classes, compares their methods with what the hooks expect, and hooks them."""

from __future__ import annotations

import importlib
import logging
from importlib import metadata
from typing import Any, Final

from workbench.adapters.vllm import runner_v1, runner_v2
from workbench.adapters.vllm.core import CoreRecorder
from workbench.adapters.vllm.patches import parameters_of, wrap
from workbench.adapters.vllm.scheduler import hook_engine, hook_front_end, hook_scheduler
from workbench.adapters.vllm.settings import RecorderSettings
from workbench.adapters.vllm.signatures import (
    KNOWN,
    RUNNER_V2,
    HookedClass,
    KnownEngine,
    known_engine,
)
from workbench.adapters.vllm.worker import WorkerRecorder

SAMPLERS_V2: Final = (
    ("vllm.v1.worker.gpu.sample.sampler", "Sampler"),
    ("vllm.v1.worker.gpu.spec_decode.rejection_sampler", "RejectionSampler"),
)
_log = logging.getLogger("specwb.vllm")


class UnsupportedEngineError(Exception):
    """The engine's methods are not those that the hooks know; the message names the first difference."""


def install(settings: RecorderSettings) -> None:
    """Hook the engine of this process.

    Raises:
        UnsupportedEngineError: A method has other parameters than the hooks expect.
    """
    core, worker = CoreRecorder(settings), WorkerRecorder(settings)
    plugin = of_other_devices()
    known = KNOWN[0] if plugin is None else plugin
    scheduler, engine, front_end, first = (checked(each) for each in known.classes[:4])
    second = _second_runner() if plugin is None else None
    hook_scheduler(scheduler, core)
    hook_engine(engine, core)
    hook_front_end(front_end, settings)
    _hook_when_made(first, worker, None if plugin is None else plugin.classes[4])
    if second is not None:
        runner_v2.hook_runner(second, worker)
        for module, name in SAMPLERS_V2:
            runner_v2.hook_sampler(getattr(importlib.import_module(module), name), worker)


def of_other_devices() -> KnownEngine | None:
    """Return the package that brings its own runner, where it is installed and its pair is known.

    Raises:
        UnsupportedEngineError: It is installed in a version, or on a vLLM, that is not known.
    """
    versions = {name: installed_version(name) for name in ("vllm", "vllm-ascend")}
    found = versions["vllm-ascend"]
    if not found:
        return None
    known = known_engine("vllm-ascend", found)
    if known is None or known.on != versions["vllm"].partition("+")[0]:
        pairs = ", ".join(f"{each.package} {each.version} on vllm {each.on}" for each in KNOWN if each.on)
        raise UnsupportedEngineError(
            f"vllm-ascend {found} on vllm {versions['vllm']} is not known; known pairs: {pairs}"
        )
    return known


def installed_version(package: str) -> str:
    """Return the version of an installed package, or empty."""
    names = (package, f"{package}-cpu") if package == "vllm" else (package,)
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def checked(what: HookedClass) -> type:
    """Return a class of the engine after comparing its methods with what the hooks expect.

    Where another package has put a class derived from it into its place, the engine's own is returned: every
    scheduler or runner derives from that.

    Raises:
        UnsupportedEngineError: One differs.
    """
    there: type = getattr(importlib.import_module(what.module), what.name)
    own = (each for each in there.__mro__ if (each.__module__, each.__name__) == (what.module, what.name))
    kind = next(own, there)
    problem = difference(kind, what)
    if problem:
        raise UnsupportedEngineError(problem)
    return kind


def difference(kind: type, what: HookedClass) -> str:
    """Return a sentence on the first method of a class that is not as the hooks expect, or empty."""
    for method, expected in what.methods.items():
        found = parameters_of(kind, method)
        if found != expected:
            takes = "nothing: it is not there" if found is None else f"({', '.join(found)})"
            versions = ", ".join(f"{each.package} {each.version}" for each in KNOWN)
            return (
                f"{what.name}.{method} should take ({', '.join(expected)}), it takes {takes}; "
                f"known versions: {versions}"
            )
    return ""


def _second_runner() -> type | None:
    try:
        return checked(RUNNER_V2)
    except ImportError as problem:  # it needs Triton
        _log.info("the second runner cannot be imported here: %s", problem)
        return None


def _hook_when_made(kind: type, worker: WorkerRecorder, own: HookedClass | None) -> None:
    """Hook the class of each runner as it is made: engines for other devices override these methods."""

    def after_init(runner: Any, *_: Any) -> None:
        made = type(runner)
        problem = difference(made, own) if own is not None and made.__module__ == own.module else ""
        if problem:
            raise UnsupportedEngineError(problem)
        runner_v1.hook_runner(made, worker)
        runner_v1.hook_sampling(made, worker)

    wrap(kind, "__init__", after=after_init)
