"""`manifest.json`: what a run is, and what its files must hold; the last line is its own checksum."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracing.errors import TraceError
from tracing.files import read_regular, replace_file
from tracing.ipc_message import CorruptFrameError, TornFrameError
from tracing.schema import FORMAT_MAJOR, FORMAT_VERSION

MANIFEST_NAME: Final = "manifest.json"
STATUSES: Final = ("running", "complete", "interrupted", "failed")
MAX_MANIFEST_BYTES: Final = 64 << 20

OWNED_BY_WRITER: Final = frozenset(
    {"format", "status", "run_id", "paths", "findings", "vocabulary", "bulk", "crc32"}
)
"""Keys that the recorder writes itself."""
PATH_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
"""What a path may be called: it names files, and a manifest of strangers must not lead outside its run."""

_TAIL: Final = re.compile(rb'(?:,\n "crc32": ")([0-9a-f]{8})("\n}\n)\Z')


def fresh_manifest(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a run that begins; `given` adds to and overrides the defaults."""
    return {
        "format": FORMAT_VERSION,
        "status": "running",
        "argv": list(sys.argv),
        "versions": _versions(),
        "lockstep": None,
        "engine": None,
        "models": {},
        "settings": {},
        "seeds": {},
        "requests": {},
        "model_facts": None,
        "paths": {},
        "findings": None,
        "vocabulary": None,
        "bulk": [],
        **given,
    }


def _versions() -> dict[str, str]:
    from importlib import metadata  # a reader needs none of it

    try:
        specwb = metadata.version("specwb")
    except metadata.PackageNotFoundError:
        specwb = "source"
    return {
        "specwb": specwb,
        "python": sys.version.partition(" ")[0],
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }


def write_manifest(folder: Path, manifest: Mapping[str, Any], *, flush: bool = False) -> None:
    """Replace the manifest in one go; with `flush`, wait until its name is on the disk too.

    Raises:
        TraceError: It holds something that JSON has no form for.
        EnvironmentProblemError: The disk refused it.
    """
    try:
        text = json.dumps(
            {key: manifest[key] for key in manifest if key != "crc32"}, indent=1, allow_nan=False
        )
    except (TypeError, ValueError) as problem:
        raise TraceError(f"the manifest should be plain JSON data, got {problem}") from None
    body = text.removesuffix("\n}").encode()
    tail = f',\n "crc32": "{zlib.crc32(body):08x}"\n}}\n'.encode()
    replace_file(folder / MANIFEST_NAME, body + tail, flush=flush)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and prove the manifest.

    Raises:
        TraceError: There is none, or it is of a newer major version.
        TornFrameError: It is cut.
        CorruptFrameError: Its checksum does not match.
    """
    path = folder / MANIFEST_NAME
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise CorruptFrameError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes")
        data = read_regular(path)
    except OSError as problem:
        raise TraceError(
            f"{folder} is no recorded run: {MANIFEST_NAME} {problem.strerror or problem}"
        ) from None
    tail = _TAIL.search(data)
    if tail is None:
        kind = CorruptFrameError if data.endswith(b"}\n") else TornFrameError
        raise kind(f"{path} does not end in its checksum")
    if tail.group(1) != f"{zlib.crc32(data[: tail.start()]):08x}".encode():
        raise CorruptFrameError(f"checksum of {path} does not match")
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        manifest = None
    return checked_manifest(manifest, path)


def checked_manifest(manifest: Any, path: Path) -> dict[str, Any]:
    """Check what every reader relies on: version, status and the kinds of its parts.

    Raises:
        TraceError: Newer major version.
        CorruptFrameError: Something else is there.
    """
    if not isinstance(manifest, dict):
        raise CorruptFrameError(f"{path} is no JSON object")
    check_format(manifest.get("format"), str(path))
    paths, bulk = manifest.get("paths"), manifest.get("bulk")
    whole = (
        manifest.get("status") in STATUSES
        and isinstance(paths, dict)
        and all(PATH_NAME.match(name) for name in paths)
        and all(map(_is_entry, paths.values()))
        and isinstance(bulk, list)
        and all(isinstance(entry, dict) for entry in bulk)
    )
    if not whole:
        raise CorruptFrameError(f"{path} lacks status, paths or bulk, or holds another type there")
    return manifest


def _is_entry(entry: Any) -> bool:
    """Whether a path's entry has what readers rely on."""
    return (
        isinstance(entry, dict)
        and _are_names(entry.get("lacks", []))
        and isinstance(entry.get("level", ""), str)
        and isinstance(entry.get("info") or {}, dict)
    )


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def check_format(version: Any, what: str) -> None:
    """Refuse a newer major version with a sentence.

    Raises:
        TraceError: It is newer than this reader.
        CorruptFrameError: It is no version.
    """
    major = str(version).partition(".")[0]
    if not isinstance(version, str) or not major.isdecimal() or len(major) > 4:
        raise CorruptFrameError(f"{what} has no format version, got {version!r}")
    if int(major) > FORMAT_MAJOR:
        raise TraceError(
            f"{what} has trace format {version}, this specwb reads up to {FORMAT_MAJOR}.x; upgrade specwb"
        )
