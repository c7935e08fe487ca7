"""Rows of a path by launch and by request: read where a batch is shown, extended as the trace grows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tracing.manifest_facts import table
from tracing.reader import Run, open_run
from tracing.run_facts import model_facts_of
from workbench.view.launch_shown import (
    Happening,
    Key,
    Launch,
    LaunchShown,
    RequestOfLaunch,
    Row,
    name_of,
    requests_of,
)

CHUNK: Final = 4096
NUMBERS: Final = ("prompt_id", "turn", "step", "launch", "dp_rank", "request_epoch")
TEXTS: Final = ("row_kind", "request_id")
READ: Final = (*NUMBERS, *TEXTS, "accepted_nodes", "stop_reason", "block_ids")
NONE: Final = -1


class LaunchIndex:
    """Finds the rows of a launch, and those of a request; a reader of its own, safe to call from threads."""

    def __init__(self, folder: Path, path_name: str) -> None:
        self._folder, self._name = folder, path_name
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._counted = 0
        self._launches: dict[Launch, list[int]] = {}
        self._lives: dict[str, list[Happening]] = {}
        self._launch_of: dict[Key, Launch] = {}

    def shown(self, key: Key, manifest: Mapping[str, Any]) -> LaunchShown | None:
        """Return the launch of a step, None where none is recorded.

        Raises:
            TraceError: A batch cannot be unpacked, or a fact of the manifest is not of its kind.
        """
        with self._lock:
            self._grow()
            launch = self._launch_of.get(key)
            if launch is None:
                return None
            facts = model_facts_of(manifest)
            groups = () if facts is None else facts.kv_groups
            sizes = tuple(each.manager_block_size for each in groups)
            if not sizes:
                stated = table(manifest, "limits").get("block_size")
                sizes = (stated if isinstance(stated, int) else 0,)
            by_request = requests_of(self._rows(launch))
            padding = tuple(by_request.pop("", ()))
            requests = tuple(
                RequestOfLaunch(
                    name,
                    tuple(rows),
                    self._blocks(name, launch[1], len(sizes)),
                    tuple(self._lives.get(name, ())),
                )
                for name, rows in by_request.items()
            )
            nulls = tuple(each.null_block for each in groups)
            return LaunchShown(launch, requests, padding, sizes, nulls)

    def _rows(self, launch: Launch) -> list[Row]:
        """Return all rows of a launch, in the order of the batch."""
        assert self._run is not None
        path = self._run.path(self._name)
        rows = [path.step(number) for number in self._launches.get(launch, ())]
        return sorted(rows, key=lambda row: (row.get("batch_row") is None, row.get("batch_row") or 0))

    def _blocks(self, request: str, launch: int, num_groups: int) -> tuple[tuple[int, ...], ...]:
        """Return the blocks that a request holds in a launch, group by group, as far as they are recorded."""
        life = [each for each in self._lives[request] if each.launch <= launch and each.kind != "preempted"]
        found: list[list[int]] = [[] for _ in range(num_groups)]
        for each in life:
            width = len(each.blocks) // num_groups
            if each.epoch == life[-1].epoch and width * num_groups == len(each.blocks):
                for group, held in enumerate(found):
                    held += [one for one in each.blocks[group * width : (group + 1) * width] if one >= 0]
        return tuple(map(tuple, found))

    def _grow(self) -> None:
        """Read what was written since."""
        if self._run is None:
            self._run = open_run(self._folder, lazily=True, every_row=True)
        else:
            self._run.refresh()
        path = self._run.path(self._name)
        if path.num_steps < self._counted:  # a damaged run has fewer rows now
            self._counted = 0
            for known in (self._launches, self._lives, self._launch_of):
                known.clear()
        while self._counted < path.num_steps:
            stop = min(self._counted + CHUNK, path.num_steps)
            read = path.columns(READ, self._counted, stop)
            columns = {name: read.column(name).to_pylist() for name in READ}
            for place in range(stop - self._counted):
                self._add(self._counted + place, {name: each[place] for name, each in columns.items()})
            self._counted = stop

    def _add(self, number: int, row: Row) -> None:
        if row["launch"] is None:
            return
        launch = (row["dp_rank"] if row["dp_rank"] is not None else NONE, row["launch"])
        self._launches.setdefault(launch, []).append(number)
        if row["row_kind"] is None:
            self._launch_of.setdefault((row["prompt_id"], row["turn"], row["step"]), launch)
        accepted = row["accepted_nodes"]
        happening = Happening(
            number,
            row["launch"],
            row["request_epoch"] or 0,
            row["row_kind"] or "",
            None if accepted is None else len(accepted),
            row["stop_reason"] is not None,
            tuple(each for each in row["block_ids"] or () if each is not None),
        )
        self._lives.setdefault(name_of(row), []).append(happening)
