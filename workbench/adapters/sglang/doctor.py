"""What `specwb doctor --engine` says of SGLang."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Final

from workbench.adapters.sglang.install import require_known
from workbench.adapters.sglang.plugin import VARIABLE
from workbench.adapters.sglang.signatures import READ, VERSION
from workbench.adapters.vllm.doctor import EngineStatement

GROUP: Final = "sglang.srt.plugins"


def sglang_version() -> str:
    """Return the version of an installed SGLang, or empty."""
    try:
        return metadata.version("sglang")
    except metadata.PackageNotFoundError:
        return ""


def sglang_statements(environment: Mapping[str, str] = os.environ) -> Iterator[EngineStatement]:
    """Say what of SGLang is known, and whether one that is installed here can be recorded."""
    found = sglang_version()
    if found:
        yield EngineStatement("ready", f"sglang {found}")
        if any(point.name == "specwb" for point in metadata.entry_points(group=GROUP)):
            yield EngineStatement("ready", f"the entry point specwb of {GROUP} is installed")
        else:
            yield EngineStatement("missing", f"no entry point specwb of {GROUP}: pip install specwb here")
        if environment.get(VARIABLE):
            yield EngineStatement("ready", f"{VARIABLE} names {environment[VARIABLE]}")
        else:
            yield EngineStatement("missing", f"{VARIABLE} is not set; it names a folder")
        yield _hooks()
    yield EngineStatement(
        "unproven",
        f"sglang {VERSION}: signatures read on {READ}, hooks run on fakes of that shape; "
        "no engine has been recorded",
    )


def _hooks() -> EngineStatement:
    try:
        require_known()
    except ImportError as problem:
        return EngineStatement("missing", f"sglang cannot be imported: {problem}")
    except Exception as problem:  # noqa: BLE001 whatever the engine does when it is imported is reported
        return EngineStatement("differs", str(problem))
    return EngineStatement("ready", "what is hooked in sglang is as the hooks expect")
