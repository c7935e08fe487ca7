"""The runs in some folders, newest first, read from their manifests alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tracing.errors import TraceError
from tracing.files import is_being_written
from tracing.manifest import MANIFEST_NAME, read_manifest
from workbench.view.counted import counted
from workbench.view.lines import Line, Role, Span
from workbench.view.safe_text import safe_text
from workbench.view.width import fitted

USUAL_FOLDERS: Final = (Path("runs"), Path("traces"), Path())
MAX_RUNS: Final = 1000


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run to choose.

    Attributes:
        status: `complete`, `running`, ...; `cut off` where a writer is gone without closing it, `damaged`
            where the manifest cannot be read.
        num_steps: Steps of its first path, None while it is being written.
        num_findings: Findings, None where not known yet.
        modified: When its manifest was last written.
    """

    folder: Path
    status: str
    num_steps: int | None
    num_findings: int | None
    modified: datetime


def list_runs(folders: Iterable[Path] = USUAL_FOLDERS) -> list[RunEntry]:
    """Return the runs right inside some folders, newest first."""
    manifests = {
        path.parent.resolve(): path
        for folder in folders
        for path in (*folder.glob(MANIFEST_NAME), *folder.glob(f"*/{MANIFEST_NAME}"))
    }
    entries = [_entry(path.parent) for path in list(manifests.values())[:MAX_RUNS]]
    return sorted(entries, key=lambda entry: entry.modified, reverse=True)


def run_line(entry: RunEntry) -> Line:
    """Return a run as one line."""
    found = "" if entry.num_findings is None else counted(entry.num_findings, "finding")
    role: Role = "bad" if entry.num_findings else "dim"
    steps = "-" if entry.num_steps is None else str(entry.num_steps)
    return (
        Span(fitted(safe_text(str(entry.folder)), 26), "accent"),
        Span(f" {entry.status:<11} {steps:>6} steps "),
        Span(f"{found:<13}", role),
        Span(entry.modified.strftime("%m-%d %H:%M"), "dim"),
    )


def _entry(folder: Path) -> RunEntry:
    modified = datetime.fromtimestamp((folder / MANIFEST_NAME).stat().st_mtime).astimezone()
    try:
        manifest = read_manifest(folder)
    except TraceError:
        return RunEntry(folder, "damaged", None, None, modified)
    paths = manifest.get("paths")
    first: Any = next(iter(paths.values()), None) if isinstance(paths, dict) else None
    status = safe_text(str(manifest.get("status", "")))
    if status == "running" and is_being_written(folder) is False:
        status = "cut off"
    return RunEntry(
        folder, status, _count(first, "rows"), _count(manifest.get("findings"), "num_findings"), modified
    )


def _count(facts: Any, name: str) -> int | None:
    value = facts.get(name) if isinstance(facts, dict) else None
    return value if isinstance(value, int) else None
