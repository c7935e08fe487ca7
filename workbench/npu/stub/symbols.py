"""CANN's names: what the wheel's libraries need and no library of this machine gives; by nm and ldd."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracing.errors import EnvironmentProblemError

_LDD_LINE = re.compile(r"^\s*(?P<name>\S+) => (?P<path>/\S+|not found)", re.MULTILINE)
_PYTHON_PREFIXES = ("Py", "_Py")


@dataclass(frozen=True, slots=True)
class MissingSymbols:
    """What a stub has to replace.

    Attributes:
        libraries: File names of the libraries that the loader cannot find, sorted.
        functions: Undefined symbols that none of the found libraries defines, sorted.
    """

    libraries: tuple[str, ...]
    functions: tuple[str, ...]


def missing_symbols(wheel: Path, torch_lib: Path) -> MissingSymbols:
    """Compute what `torch_npu` misses on a machine without CANN.

    Args:
        wheel: Folder of the installed `torch_npu` package.
        torch_lib: Folder `lib` of the installed `torch` package.

    Raises:
        EnvironmentProblemError: The folder holds no libraries, or nm or ldd failed.
    """
    own = sorted([*(wheel / "lib").glob("*.so"), *wheel.glob("_C*.so")])
    if not own:
        raise EnvironmentProblemError(
            f"expected torch_npu's libraries in {wheel}, found none; reinstall torch_npu"
        )
    found, lacking = _resolve(own, (torch_lib, wheel / "lib"))
    defined = _names("--defined-only", {*own, *found})
    wanted = {name for name in _names("--undefined-only", own) if not name.startswith(_PYTHON_PREFIXES)}
    return MissingSymbols(libraries=tuple(sorted(lacking)), functions=tuple(sorted(wanted - defined)))


def _resolve(libraries: Sequence[Path], folders: Sequence[Path]) -> tuple[set[Path], set[str]]:
    """Return the files that the loader finds for these libraries, and the names that it does not find."""
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(str(folder) for folder in folders)}
    lines = _LDD_LINE.findall(_output(["ldd", *map(str, libraries)], environment))
    return {Path(path) for _, path in lines if path != "not found"}, {
        name for name, path in lines if path == "not found"
    }


def _names(kind: str, libraries: Iterable[Path]) -> set[str]:
    """Return dynamic symbol names of that kind, without weak references (`w`, `v`) and version suffixes."""
    lines = _output(["nm", "--dynamic", kind, *sorted(map(str, libraries))]).splitlines()
    fields = [line.split() for line in lines if line and not line.endswith(":")]
    return {row[-1].split("@")[0] for row in fields if row[-2] not in {"w", "v"}}


def _output(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if not done.stdout:
        raise EnvironmentProblemError(
            f"{command[0]} could not read torch_npu's libraries: {done.stderr.strip()[:200]}"
        )
    return done.stdout
