"""What this machine has, found without importing torch or torch_npu."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tracing.errors import EnvironmentProblemError


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package.

    Attributes:
        folder: Folder of its modules.
        version: From its metadata, e.g. `2.13.0+cpu`; empty when there is no metadata.
    """

    folder: Path
    version: str


def find_package(name: str) -> Package | None:
    """Return a top-level package without importing it, or None when it is missing or hidden."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = ""
    return Package(Path(next(iter(spec.submodule_search_locations))), version)


def device_nodes(dev: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the names of Ascend device nodes, e.g. `davinci0`."""
    return tuple(sorted(node.name for node in dev.glob("davinci*") if re.fullmatch(r"davinci\d+", node.name)))


def cann_version() -> str | None:
    """Return the version of the CANN toolkit that the environment points to, or None."""
    home = os.environ.get("ASCEND_HOME_PATH") or os.environ.get("ASCEND_TOOLKIT_HOME")
    if not home:
        return None
    for name in ("version.cfg", "compiler/version.info", "runtime/version.info"):
        file = Path(home) / name
        match = re.search(r"\d+\.\d+[\w.]*", file.read_text(errors="replace")) if file.is_file() else None
        if match:
            return match.group()
    return None


def require_matching(torch: Package, torch_npu: Package) -> None:
    """Check that the wheel was built for this torch; another one would load with undefined symbols.

    Raises:
        EnvironmentProblemError: Their releases differ.
    """
    release = re.compile(r"\d+\.\d+\.\d+")
    ours, theirs = release.match(torch.version), release.match(torch_npu.version)
    if ours and theirs and ours.group() != theirs.group():
        raise EnvironmentProblemError(
            f"torch_npu {torch_npu.version} needs torch {theirs.group()}, found {torch.version}"
        )
