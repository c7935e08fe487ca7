"""Measurements that are kept in a file, a line each, so that groups of rows may be measured one by one."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from costs.row import Goal, Row
from tracing.errors import UsageError

PACKAGES: Final = ("numpy", "pyarrow", "torch", "transformers", "textual")
SETTINGS: Final = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Rows that were measured by one command.

    Attributes:
        machine: What they were measured on, in words, by what it is.
        load: Processes that wanted to run in the minute before.
        rows: The rows.
    """

    machine: Mapping[str, str]
    load: float
    rows: tuple[Row, ...]


def this_machine() -> dict[str, str]:
    """Return processor, memory, versions and settings of threads."""
    settings = (f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ)
    return {
        "processor": f"{_processor()}, {os.cpu_count() or 0} cores, {_memory()}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "versions": ", ".join([f"Python {platform.python_version()}", *map(_version, PACKAGES)]),
        "settings": ", ".join(settings) or "no setting of threads",
    }


def load() -> float:
    """Return how many processes wanted to run in the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def keep(file: Path, rows: Sequence[Row], *, before: float) -> None:
    """Add rows to a file; `before` is the load before they were measured."""
    line = {
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "machine": this_machine(),
        "load": round(before, 2),
        "costs": [row.as_json() for row in rows],
    }
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{json.dumps(line, allow_nan=False)}\n")


def kept(file: Path) -> list[Measurement]:
    """Return what was kept, oldest first.

    Raises:
        UsageError: The file cannot be read, or a line of it is none of ours.
    """
    try:
        return [_measurement(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as problem:
        raise UsageError(f"{file} cannot be read: {problem.strerror or problem}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(f"{file} should hold what --keep wrote, a line a measurement: {problem!r}") from None


def _measurement(line: Mapping[str, Any]) -> Measurement:
    machine = {str(name): str(text) for name, text in line["machine"].items()}
    return Measurement(machine, float(line["load"]), tuple(map(_row, line["costs"])))


def _row(entry: Mapping[str, Any]) -> Row:
    goal, spread = entry["goal"], entry["spread"]
    return Row(
        name=str(entry["name"]),
        value=entry["value"],
        unit=str(entry["unit"]),
        how=str(entry["how"]),
        goal=None if goal is None else Goal(goal, at_least=entry["goal_is"] == "at least"),
        spread=None if spread is None else (spread[0], spread[1]),
    )


def _processor() -> str:
    lines = _lines("/proc/cpuinfo")
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or UNKNOWN)


def _memory() -> str:
    total = memory_bytes("MemTotal")
    return f"{UNKNOWN} memory" if total is None else f"{total / 2**30:.0f} GiB"


def memory_bytes(name: str) -> int | None:
    """Return what the system says of its memory, `MemTotal` or `MemAvailable`; None where it does not."""
    sizes = (line.split()[1] for line in _lines("/proc/meminfo") if line.startswith(f"{name}:"))
    return next((int(size) * 1024 for size in sizes if size.isdecimal()), None)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
