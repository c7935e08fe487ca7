"""What a recorded run holds and how much of it is readable, for people and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tracing.columns import COLUMN_BY_NAME
from tracing.errors import TraceError
from tracing.gaps import unrecorded_steps
from tracing.integrity import RunHealth
from tracing.origins import NOT_CLOSED, ORIGINS, How, origins_of
from tracing.path_reader import PathReader
from tracing.reader import Run
from workbench.view.counted import counted
from workbench.view.safe_text import safe_line

MANIFEST_KEYS = ("format", "status", "run_id", "engine", "lockstep", "argv", "versions", "settings", "models")
MOST_HOLES: Final = 4
"""Places of lost rows that are named; a stream that is damaged everywhere has thousands."""
_MADE_BY: Final[Mapping[How, str]] = {
    "repair": "repaired from",
    "slice": "cut from",
    "migrate": "migrated from",
    "merge": "merged from",
}


def info_as_json(run: Run) -> dict[str, Any]:
    """Return what a run is, as plain data."""
    known = {key: run.manifest.get(key) for key in MANIFEST_KEYS}
    return known | {
        "run": str(run.folder),
        "problems": [*run.problems, *(each for name in run.path_names for each in run.path(name).problems)],
        "findings": len(run.findings),
        "tokens": len(run.vocabulary),
        "bytes": sum(file.stat().st_size for file in run.folder.rglob("*") if file.is_file()),
        "paths": [_path(run.path(name)) for name in run.path_names],
        **loss_as_json(run),
    }


def _path(path: PathReader) -> dict[str, Any]:
    return {
        "path": path.name,
        "steps": path.num_steps,
        "level": path.entry.get("level"),
        "columns": recorded_columns(path),
        "lacks": list(path.entry.get("lacks", ())),
        "info": path.entry.get("info") or {},
        "in_progress": [str(step.moment) for step in path.in_progress],
    }


def recorded_columns(path: PathReader) -> list[str]:
    """Return the columns that hold a value at any step, in schema order; reads the path batch by batch."""
    found: set[str] = set()
    for batch in path.batches():
        found |= {name for name in batch.schema.names if batch.column(name).null_count < batch.num_rows}
    return [name for name in COLUMN_BY_NAME if name in found]


def info_lines(run: Run) -> list[str]:
    """Return the same as lines for a person."""
    return [safe_line(line) for line in _info_lines(run)]


def _info_lines(run: Run) -> Iterator[str]:
    facts = info_as_json(run)
    status = facts["status"] or "status unknown"
    damaged = ", damaged" if facts["problems"] else ""
    form = f"format {facts['format']}, {facts['bytes']:,} bytes"
    yield f"run         {facts['run']} ({status}{damaged}, {form})"
    for key in ("engine", "lockstep"):
        if facts[key]:
            yield f"{key:<11} {facts[key]}"
    if isinstance(facts["argv"], list):
        yield f"command     {' '.join(str(word) for word in facts['argv'])}"
    for key in ("versions", "settings"):
        if facts[key]:
            yield f"{key:<11} {_pairs(facts[key])}"
    yield from _models(facts["models"])
    for path in facts["paths"]:
        yield f"path        {path['path']}: {counted(path['steps'], 'step')}, level {path['level']}"
        yield f"  columns   {', '.join(path['columns']) or 'none'}"
        for moment in path["in_progress"]:
            yield f"  unfinished {moment}"
    yield f"findings    {facts['findings']}"
    yield f"tokens      {facts['tokens']} ids with their bytes"
    for problem in facts["problems"]:
        yield f"problem     {problem}"
    yield from (f"lost        {line}" for line in facts["lost"])


def loss_as_json(run: Run) -> dict[str, Any]:
    """Return the runs that a run was made from, oldest first, and what was lost, one sentence each."""
    return {"origins": run.manifest.get(ORIGINS) or [], "lost": list(_losses(run))}


def loss_lines(run: Run) -> list[str]:
    """Return what was lost as lines for a person; none of a run that has lost nothing."""
    return [safe_line(f"  lost: {line}") for line in _losses(run)]


def _losses(run: Run) -> Iterator[str]:
    for name in run.path_names:
        if number := sum(unrecorded_steps(run.path(name)).values()):
            yield f"{name}: {number} rows were never recorded"
    try:
        origins = origins_of(run.manifest)
    except TraceError as problem:
        yield f"not known: {problem}"
        return
    for origin in origins:
        source = f"{_MADE_BY[origin.how]} run {origin.run_id or 'of unknown id'}"
        if not origin.was_closed:
            yield f"{source}: it was never closed"
        elif origin.status != "complete":
            yield f"{source}: it was {origin.status}"
        yield from (f"{source}: {line}" for line in origin.damage if not line.endswith(NOT_CLOSED))
        for path in origin.paths:
            lost = "an unknown number of" if path.lost is None else str(path.lost)
            holes = ", ".join(":".join(map(str, place)) for place in path.holes[:MOST_HOLES])
            more = f" and {len(path.holes) - MOST_HOLES} more" if len(path.holes) > MOST_HOLES else ""
            if path.lost != 0 or holes:
                before = f", before {holes}{more}" if holes else ""
                yield f"{source}: {path.path}: {lost} rows, {path.rows} came along{before}"


def _pairs(table: Any) -> str:
    """Return a section of the manifest, which is whatever its writer gave."""
    if not isinstance(table, Mapping):
        return str(table)
    return ", ".join(f"{key} {value}" for key, value in table.items())


def _models(models: Any) -> Iterator[str]:
    if not isinstance(models, Mapping):
        models = {"models": models}
    for key, value in models.items():
        if isinstance(value, str):
            yield f"{key:<11} {value}"
    digests = models.get("digests")
    if isinstance(digests, Mapping):
        for key, value in digests.items():
            yield f"digest      {key} {value}"


def health_as_json(health: RunHealth) -> dict[str, Any]:
    """Return how much of a run is readable, as plain data."""
    return {
        "run": str(health.folder),
        "state": health.state,
        "status": health.status,
        "being_written": health.being_written,
        "files": [
            {"name": file.name, "state": file.state, "message": file.message, "readable": file.readable}
            for file in health.files
        ],
        "steps": dict(health.num_steps),
        "in_progress": {
            name: [str(step.moment) for step in steps] for name, steps in health.in_progress.items()
        },
    }


def health_lines(health: RunHealth) -> list[str]:
    """Return the same as lines for a person."""
    return [safe_line(line) for line in _health_lines(health)]


def _health_lines(health: RunHealth) -> Iterator[str]:
    status = f" ({health.status})" if health.status and health.status != health.state else ""
    writer = ", still being written" if health.being_written else ""
    state = f"damaged, {health.state}" if health.state in {"torn", "corrupt"} else health.state
    yield f"{health.folder}: {state}{status}{writer}"
    for file in health.files:
        notes = "; ".join(note for note in (file.message, file.readable) if note)
        yield f"  {file.name:<20} {file.state}{f': {notes}' if notes else ''}"
    for name, steps in health.in_progress.items():
        for step in steps:
            inputs = f", inputs {', '.join(step.inputs)}" if step.inputs else ""
            yield f"  {name} was in {step.moment}{inputs}"
