"""A launch of an engine as a panel shows it: its requests, their rows, blocks and lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Key = tuple[int, int, int]
Launch = tuple[int, int]
"""Data-parallel rank, -1 where not recorded, and number."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One row of a request, as a strip shows it.

    Attributes:
        row: Its number among all rows.
        launch: Its number.
        epoch: Preemptions of the request before.
        kind: `row_kind`, empty for a step.
        accepted: A of a step, None where not recorded.
        is_last: It ended the request.
        blocks: Ids of blocks that were appended, group after group, filled up with -1.
    """

    row: int
    launch: int
    epoch: int
    kind: str
    accepted: int | None
    is_last: bool
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestOfLaunch:
    """A request in a launch.

    Attributes:
        name: The engine's name, or prompt and turn.
        rows: Its rows in the launch: context that is computed, then a step.
        blocks: Blocks that it holds, group by group.
        life: What happened to it, launch after launch.
    """

    name: str
    rows: tuple[Row, ...]
    blocks: tuple[tuple[int, ...], ...]
    life: tuple[Happening, ...]


@dataclass(frozen=True, slots=True)
class LaunchShown:
    """A launch.

    Attributes:
        launch: Data-parallel rank, -1 where not recorded, and number.
        requests: Those that have rows in it.
        padding: Rows that belong to no request.
        block_sizes: Tokens per block of each KV group, 0 where not known.
        null_blocks: Block of each group that holds nothing, None where not known.
    """

    launch: Launch
    requests: tuple[RequestOfLaunch, ...]
    padding: tuple[Row, ...] = ()
    block_sizes: tuple[int, ...] = (0,)
    null_blocks: tuple[int | None, ...] = ()


def name_of(row: Row) -> str:
    """Return the engine's name of a row's request, else its prompt and turn."""
    name = row.get("request_id")
    if name is None and row.get("row_kind") == "withdrawn":
        return ""
    return f"{row['prompt_id']}:{row['turn']}" if name is None else str(name)


def requests_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of a launch by request, in their order; those of no request under the empty name."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(name_of(row), []).append(row)
    return found
