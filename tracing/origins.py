"""What a run states of the runs that it was made from: how they ended, and what of them is not in it.

The section `origins` of `manifest.json`, oldest first; a copy of a copy has the origins of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from tracing.errors import TraceError
from tracing.gaps import gaps, unrecorded_steps
from tracing.integrity import RunHealth
from tracing.manifest import MANIFEST_NAME
from tracing.manifest_facts import read_facts
from tracing.path_reader import PathReader
from tracing.reader import Run

ORIGINS: Final = "origins"
"""Key of the manifest."""
How = Literal["repair", "slice", "migrate", "merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRemainder:
    """What of one path came along.

    Attributes:
        path: Its name.
        rows: Rows that came along.
        lost: Rows that did not; None where their number is not known.
        holes: Prompt, turn and step of each row before which rows were lost.
    """

    path: str
    rows: int
    lost: int | None
    holes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One run that another was made from.

    Attributes:
        how: What was done with it.
        run_id, format, engine: As in its manifest; empty where that could not be read.
        status: In its manifest; `running` if its writer never closed it, empty where not known.
        state: Of its files, as `tracing.integrity` names it.
        damage: Sentences about files that were not as they were written.
        first, last: Of a slice, its borders.
        paths: What came along.
    """

    how: How
    run_id: str
    format: str
    engine: str
    status: str
    state: str
    damage: tuple[str, ...]
    paths: tuple[PathRemainder, ...]
    first: str = ""
    last: str = ""

    @property
    def was_closed(self) -> bool:
        """Whether its writer closed it; an unreadable manifest does not tell."""
        return self.status not in {"", "running"}


def origins_of(manifest: Mapping[str, Any]) -> tuple[Origin, ...]:
    """Return the runs that a run was made from, oldest first; empty for one that an engine recorded.

    Raises:
        TraceError: The section is not of its kind.
    """
    section = manifest.get(ORIGINS) or []
    if not isinstance(section, list):
        raise TraceError(f"{ORIGINS} of the manifest should be a list, got {str(section)[:40]!r}")
    return tuple(read_facts(Origin, each, ORIGINS) for each in section)


def with_origin(run: Run, origin: Origin) -> list[dict[str, Any]]:
    """Return the section for a run that is made from `run`: its own origins, then the run itself."""
    return [asdict(each) for each in (*origins_of(run.manifest), origin)]


def origin_of(
    run: Run,
    health: RunHealth,
    how: How,
    *,
    kept: Mapping[str, int] | None = None,
    first: str = "",
    last: str = "",
) -> Origin:
    """Describe a run from which another is made.

    Args:
        run: Opened with every row.
        health: Of its files.
        how: What is done with it.
        kept: Rows of each path that come along; all that can be read where not given.
        first: Of a slice, its first moment.
        last: Of a slice, its last moment.
    """
    return Origin(
        how=how,
        run_id=str(run.manifest.get("run_id") or ""),
        format=str(run.manifest.get("format") or ""),
        engine=str(run.manifest.get("engine") or ""),
        status=run.status,
        state=health.state,
        damage=tuple(f"{file.name}: {file.state}: {file.message}" for file in health.files if file.message),
        paths=tuple(_remainder(run.path(name), health, (kept or {}).get(name)) for name in run.path_names),
        first=first,
        last=last,
    )


def _remainder(path: PathReader, health: RunHealth, kept: int | None) -> PathRemainder:
    rows = path.num_steps if kept is None else kept
    total = _total(path, health)
    return PathRemainder(
        path=path.name,
        rows=rows,
        lost=None if total is None else total - rows,
        holes=tuple(path.moment(row).place for row in gaps(path)),
    )


def _total(path: PathReader, health: RunHealth) -> int | None:
    """Return how many rows a path had; None where what is damaged does not tell."""
    stated = [path.entry.get("rows"), (path.stream.end or {}).get("num_rows")]
    known = [number for number in stated if type(number) is int]
    unrecorded = sum(unrecorded_steps(path).values())
    if known:
        return max(*known, path.num_steps) + unrecorded
    files = {f"{path.name}.arrows", f"{path.name}.journal", MANIFEST_NAME}
    damaged = [file for file in health.files if file.name in files and file.message not in {"", NOT_CLOSED}]
    return None if damaged else path.num_steps + unrecorded


NOT_CLOSED: Final = "has no end record"
"""The only remark on a file of a run that was killed and has lost nothing."""


def stretches(path: PathReader, origins: Sequence[Origin] = ()) -> list[tuple[int, int]]:
    """Return `start, stop` of readable steps between which none was lost.

    After a loss a step has another predecessor than the one before it in the file, and whatever compares
    neighbours begins anew.
    """
    before = {
        place for origin in origins for each in origin.paths if each.path == path.name for place in each.holes
    }
    keys = path.keys().tolist() if before else []
    known = [row for row, key in enumerate(keys) if tuple(key) in before]
    borders = [0, *sorted({*gaps(path), *known}), path.num_steps]
    return [(start, stop) for start, stop in pairwise(borders) if start < stop]
