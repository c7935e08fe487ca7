"""What `specwb doctor --engine` says: whether the engine of this environment can be recorded, and why not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from tracing.errors import SpecwbError
from workbench.adapters.vllm.install import checked, installed_version, of_other_devices
from workbench.adapters.vllm.settings import TRACE, settings_of
from workbench.adapters.vllm.signatures import KNOWN

GROUP: Final = "vllm.general_plugins"
PLUGINS: Final = "VLLM_PLUGINS"


@dataclass(frozen=True, slots=True)
class EngineStatement:
    """One thing that is so, or not, in this environment.

    Attributes:
        word: `ready`, `missing`, `differs` or `unproven`.
        text: A sentence.
    """

    word: str
    text: str


def engine_statements(environment: Mapping[str, str] = os.environ) -> tuple[EngineStatement, ...]:
    """Look at the engine of this environment; imports it, starts nothing and writes nothing."""
    return tuple(_statements(environment))


def _statements(environment: Mapping[str, str]) -> Iterator[EngineStatement]:
    vllm, ascend = installed_version("vllm"), installed_version("vllm-ascend")
    if not vllm:
        yield EngineStatement("missing", "vllm is not installed here; there is nothing to record")
    else:
        yield EngineStatement("ready", f"vllm {vllm}" + (f" with vllm-ascend {ascend}" if ascend else ""))
    yield _entry_point()
    yield _listed(environment)
    yield _settings(environment)
    if vllm:
        yield from _hooks()
    for each in KNOWN:
        name = f"{each.package} {each.version}" + (f" on vllm {each.on}" if each.on else "")
        yield EngineStatement("ready" if each.is_proven else "unproven", f"{name}: {each.evidence}")


def _entry_point() -> EngineStatement:
    if any(point.name == "specwb" for point in metadata.entry_points(group=GROUP)):
        return EngineStatement("ready", f"the entry point specwb of {GROUP} is installed")
    return EngineStatement("missing", f"no entry point specwb of {GROUP}: pip install specwb here")


def _listed(environment: Mapping[str, str]) -> EngineStatement:
    listed = environment.get(PLUGINS)
    if listed is None:
        return EngineStatement("ready", f"{PLUGINS} is not set, so vllm loads every plugin")
    if "specwb" in [each.strip() for each in listed.split(",")]:
        return EngineStatement("ready", f"{PLUGINS} lists specwb")
    return EngineStatement("missing", f"{PLUGINS} is {listed!r} and does not list specwb: add it")


def _settings(environment: Mapping[str, str]) -> EngineStatement:
    if not environment.get(TRACE):
        return EngineStatement("missing", f"{TRACE} is not set: {TRACE}=FOLDER vllm serve ...")
    try:
        settings = settings_of(dict(environment))
    except SpecwbError as problem:
        return EngineStatement("differs", str(problem))
    what = f"{settings.mode}, level {settings.level}, at most {settings.max_bytes} bytes a process"
    return EngineStatement("ready", f"{TRACE} names {settings.folder} ({what})")


def _hooks() -> Iterator[EngineStatement]:
    try:
        plugin = of_other_devices()
    except Exception as problem:  # noqa: BLE001 whatever the engine does when it is imported is reported
        yield EngineStatement("differs", str(problem))
        return
    for each in (KNOWN[0] if plugin is None else plugin).classes:
        try:
            checked(each)
        except ImportError as problem:
            yield EngineStatement("missing", f"{each.module} cannot be imported: {problem}")
        except Exception as problem:  # noqa: BLE001 as above
            yield EngineStatement("differs", str(problem))
        else:
            methods = ", ".join(each.methods)
            yield EngineStatement("ready", f"{each.module}.{each.name}: {methods} are as the hooks expect")
