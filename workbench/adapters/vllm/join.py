"""The files of an engine's processes as one run: launches are joined on rank, number and request."""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tracing.errors import TraceError, UsageError
from tracing.manifest import MANIFEST_NAME, read_manifest
from tracing.origins import ORIGINS, Origin
from tracing.recording_plan import RECORDING
from tracing.run_writer import RunWriter
from workbench.adapters.vllm.frames import BEGIN, CLOSED, SEEN, PartRecord, scanned
from workbench.adapters.vllm.joined_rows import JoinedRows, WorkerFile
from workbench.adapters.vllm.part import SUFFIX
from workbench.adapters.vllm.settings import PARTS, RecorderSettings

FILES: Final = "engine_parts"
"""Section of the manifest: sizes of the files from which the run was made."""


@dataclass(slots=True)
class OpenedPart:
    """A file of one process.

    Attributes:
        path: The file.
        begin: Facts of its first record.
        data: Its bytes.
        launches: Where the record of each launch begins.
        closed: Facts of its last record; empty where the process was killed.
    """

    path: Path
    begin: dict[str, Any]
    data: memoryview
    launches: dict[int, int] = field(default_factory=dict)
    closed: dict[str, Any] = field(default_factory=dict)

    def records(self) -> Iterator[PartRecord]:
        """Yield all records.

        Raises:
            TraceError: One is not what was written.
        """
        return (record for record, _ in scanned(self.data, self.path.name))

    def seen(self, launch: int) -> PartRecord | None:
        """Return the record of a launch, or None."""
        start = self.launches.get(launch)
        if start is None:
            return None
        return next(scanned(self.data[start:], self.path.name))[0]


def has_parts(folder: str | Path, *, but: str = "") -> bool:
    """Return whether a folder holds files of an engine's processes; those of run `but` do not count."""
    return any(not but or but not in each.name for each in (Path(folder) / PARTS).glob(f"*{SUFFIX}"))


def join(folder: str | Path) -> bool:
    """Make the run of a folder from the files of the engine's processes, unless it is made from them already.

    Returns:
        Whether it was made now.

    Raises:
        TraceError: A file is damaged, or the engine core's is missing.
    """
    place = Path(folder)
    files = sorted((place / PARTS).glob(f"*{SUFFIX}"))
    sizes = {each.name: each.stat().st_size for each in files}
    if (place / MANIFEST_NAME).exists() and read_manifest(place).get(FILES, sizes) == sizes:
        return False
    parts = [opened for opened in map(_opened, files) if opened is not None]
    made = place / ".joining"
    shutil.rmtree(made, ignore_errors=True)
    try:
        _write(parts, made, sizes)
        for file in sorted(made.iterdir(), key=lambda each: each.name == MANIFEST_NAME):
            file.replace(place / file.name)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return True


def _opened(path: Path) -> OpenedPart | None:
    """Return a file with its index; None where its process had not begun to write."""
    if not path.stat().st_size:
        return None
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    part: OpenedPart | None = None
    for record, start in scanned(data, path.name):
        if part is None:
            if record.kind != BEGIN:
                raise TraceError(f"{path.name} does not begin as a file of an engine's process")
            part = OpenedPart(path, record.facts, data)
        elif record.kind == SEEN:
            part.launches[int(record.facts["launch"])] = start
        elif record.kind == CLOSED:
            part.closed = record.facts
    return part


def _write(parts: list[OpenedPart], made: Path, sizes: dict[str, int]) -> None:
    runs = {str(part.begin.get("run")) for part in parts}
    if len(runs) > 1:
        raise TraceError(f"{made.parent / PARTS} holds files of {len(runs)} runs; keep those of one")
    cores = sorted((each for each in parts if each.begin["role"] == "core"), key=_rank)
    workers = [each for each in parts if each.begin["role"] == "worker"]
    if not cores:
        raise TraceError(f"{made.parent / PARTS}: the engine core's file is missing; nothing can be joined")
    facts = dict(workers[0].begin["manifest"]) if workers else {}
    facts |= {FILES: sizes, RECORDING: _plan(cores, workers), ORIGINS: [asdict(_origin(cores[0], facts))]}
    with RunWriter(made, facts) as run:
        requests: dict[str, Any] = {}
        num_prompts = 0
        for core in cores:
            own = sorted((each for each in workers if _rank(each) == _rank(core)), key=_tp_rank)
            rows = JoinedRows(run, [WorkerFile(each.begin, each.seen) for each in own], num_prompts)
            for record in core.records():
                rows.take(record)
            requests |= rows.requests
            num_prompts = rows.num_prompts
        costs = {each.path.name: each.closed.get("cost") for each in parts}
        left_out = {each.path.name: each.closed.get("left_out") for each in cores}
        written = {each.path.name: each.closed.get("why") for each in parts}
        run.update(requests=requests, recording_cost=costs, left_out=left_out, written_because=written)
        run.close("complete" if all(each.closed for each in parts) else "interrupted")


def _plan(cores: list[OpenedPart], workers: list[OpenedPart]) -> dict[str, Any]:
    """Return the section that says what of the run is recorded."""
    size = max(int(each.begin["num_workers"]) for each in cores)
    there = sorted({_tp_rank(each) for each in workers})
    plan: dict[str, Any] = {
        "open_end": True,
        "open_start": any(each.closed.get("open_start") for each in (*cores, *workers)),
    }
    return plan if len(there) == size or not there else {**plan, "part": there, "parts": size}


def _origin(core: OpenedPart, facts: dict[str, Any]) -> Origin:
    """Return where the run comes from: it is the whole of its parts, so that missing ones are missed."""
    status = "complete" if core.closed else "interrupted"
    return Origin(
        how="merge",
        run_id=str(core.begin["run"]),
        format="parts",
        engine=str(facts.get("engine", "")),
        status=status,
        state=status,
        damage=(),
        paths=(),
    )


def _rank(part: OpenedPart) -> int:
    return int(part.begin["dp_rank"] if part.begin["role"] == "core" else part.begin["ranks"]["dp_rank"])


def _tp_rank(part: OpenedPart) -> int:
    return int(part.begin["ranks"]["tp_rank"])


def require_new(settings: RecorderSettings) -> None:
    """Refuse a folder that holds another run; files of processes of the same one are lawful.

    Raises:
        UsageError: It does.
    """
    folder = settings.folder
    if (folder / MANIFEST_NAME).exists() or has_parts(folder, but=settings.run):
        raise UsageError(f"{folder} holds a run already; name a new folder")
