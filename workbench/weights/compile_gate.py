"""Sources in C and C++ that are compiled when they are first needed, and kept in the user's cache.

Where there is no compiler, or it refuses, the caller does without: nothing here is needed to be correct.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tracing.errors import EnvironmentProblemError

SUFFIXES: Final = {
    ".c": ("CC", "cc", "gcc", "clang"),
    **dict.fromkeys((".cc", ".cpp", ".cxx"), ("CXX", "c++", "g++", "clang++")),
}
"""Suffix of a source to the variable and the names of its compilers."""
FLAGS: Final = ("-O3", "-march=native", "-shared", "-fPIC")
SECONDS: Final = 120.0
"""A compiler that takes longer is given up."""


class CompileError(Exception):
    """A source does not compile or load; the text says why, in one line."""


def cache_folder() -> Path:
    """Return the folder of this user's cache that specwb may fill."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "specwb"


def compiler_of(source: Path) -> str:
    """Return the path of the compiler for a source.

    Raises:
        EnvironmentProblemError: There is none on PATH.
    """
    variable, *names = SUFFIXES[source.suffix]
    for name in (os.environ.get(variable, ""), *names):
        path = shutil.which(name) if name else None
        if path is not None:
            return path
    raise EnvironmentProblemError(
        f"{source.name} needs a compiler, and none of {', '.join(names)} is on PATH"
    )


def build(source: Path, *, seconds: float = SECONDS, include: Path | None = None) -> Path:
    """Compile a source into a shared library; the same source, compiler and processor are built once.

    Args:
        source: A file with one of `SUFFIXES`.
        seconds: How long the compiler may take.
        include: A further folder of headers.

    Raises:
        CompileError: It does not compile within the time, or the cache cannot be written.
        EnvironmentProblemError: No compiler.
    """
    compiler = compiler_of(source)
    parts = [source.read_bytes(), compiler.encode(), " ".join(FLAGS).encode(), _processor().encode()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()
    library = cache_folder() / "compiled" / f"{source.stem}-{key[:16]}.so"
    if library.exists():
        return library
    options = [] if include is None else [f"-I{include}"]
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as work:
            made = Path(work) / "made.so"
            command = [compiler, *FLAGS, *options, "-o", str(made), str(source)]
            _run(command, source.name, seconds)
            made.replace(library)
    except OSError as error:
        raise CompileError(f"{source.name} cannot be compiled: {error.strerror or error}") from None
    return library


def _run(command: list[str], name: str, seconds: float) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise CompileError(f"{name} did not compile within {seconds:g} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise CompileError(f"{name} does not compile: {lines[0] if lines else 'no message'}")


def load(library: Path) -> ctypes.CDLL:
    """Load a library that `build` made.

    Raises:
        CompileError: It cannot be loaded.
    """
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompileError(f"{library.name} cannot be loaded: {error}") from None


def _processor() -> str:
    """Return what `-march=native` depends on: a cache may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    named = [line for line in lines if line.startswith(("flags", "Features", "CPU part"))]
    return platform.machine() + (named[0] if named else "")
