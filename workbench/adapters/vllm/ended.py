"""The scheduler's half of a launch as the columns of one record, and back as its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np

from workbench.adapters.vllm.content import TokenCover
from workbench.adapters.vllm.launch import Planned, RequestEnd
from workbench.adapters.vllm.rows import Array

DRAFTS: Final = 3
SAMPLED: Final = 6
"""Columns of `small`: draft tokens that were verified, tokens that were committed."""
Blocks = tuple[Any, bool, int | None]
"""Ids per KV group or None, whether these are all of the request's, and the cached tokens where they are."""


@dataclass(slots=True)
class PlannedLaunch:
    """What the scheduler decided for the requests of a launch, one column each.

    Attributes:
        names: Requests, `[R]`.
        epochs, chunks, drafts: `epoch`, `is_chunk` and `num_drafts` of `Planned`, `[R]`.
        blocks: By request, where something changed.
    """

    names: Sequence[str]
    epochs: Sequence[int]
    chunks: Sequence[bool]
    drafts: Sequence[int]
    blocks: Mapping[str, Blocks] = field(default_factory=dict)


@dataclass(slots=True)
class LiveRequest:
    """What the engine core remembers of a request.

    Attributes:
        number: By admission.
        is_recorded: From its first launch to its last, or not at all.
        has_root: A launch that samples has been scheduled for it.
        has_context: Its context has been written.
        last_launch: The last one in which it was scheduled.
    """

    number: int
    is_recorded: bool
    has_root: bool = False
    has_context: bool = False
    last_launch: int | None = None


@dataclass(frozen=True, slots=True)
class OpenLaunch:
    """A launch that has not ended.

    Attributes:
        plan: Of the scheduler.
        lives: Its requests, `[R]`.
        decodes: Whether each has been sampled before, `[R]`.
    """

    plan: PlannedLaunch
    lives: list[LiveRequest]
    decodes: list[bool]

    def first_steps(self) -> list[int]:
        """Return the rows in which a request is no context for the first time; once for each request."""
        rows = [
            row
            for row, life in enumerate(self.lives)
            if not life.has_context and self.decodes[row] and not self.plan.chunks[row]
        ]
        for row in rows:
            self.lives[row].has_context = True
        return rows


@dataclass(slots=True)
class EndedLaunch:
    """How a launch ended for its requests, one column each.

    Attributes:
        withdrawn: `is_withdrawn` of `RequestEnd`, `[R]`.
        sampled, emitted: Tokens, `[R]` lists of them.
        committed: Counts afterwards, `[R]`, or None where they cannot be read.
        contexts, stops: By row, where there is one.
    """

    withdrawn: Sequence[bool]
    sampled: Sequence[Sequence[int]]
    emitted: Sequence[Sequence[int]]
    committed: Sequence[int] | None = None
    contexts: Mapping[int, Sequence[int]] = field(default_factory=dict)
    stops: Mapping[int, str] = field(default_factory=dict)


def ended_columns(
    kept: Sequence[int], launch: OpenLaunch, ended: EndedLaunch, cover: TokenCover
) -> tuple[dict[str, str], dict[str, Array]]:
    """Return stop reasons by row, and arrays, of a record.

    Args:
        kept: Rows of the launch that are recorded.
        launch: What was planned.
        ended: How it ended.
        cover: Of token ids.
    """
    plan, decodes = launch.plan, launch.decodes
    blocks = [plan.blocks.get(plan.names[row], (None, False, None)) for row in kept]
    groups = [list(each[0] or ()) for each in blocks]
    sampled, emitted = ([tokens[row] for row in kept] for tokens in (ended.sampled, ended.emitted))
    contexts = [ended.contexts.get(row, ()) for row in kept]
    flags = [
        plan.chunks[row] + 2 * decodes[row] + 4 * whole + 8 * ended.withdrawn[row] + 16 * (ids is not None)
        for row, (ids, whole, _) in zip(kept, blocks, strict=True)
    ]
    counts = ended.committed
    columns = (
        [launch.lives[row].number for row in kept],
        [plan.epochs[row] for row in kept],
        flags,
        [plan.drafts[row] for row in kept],
        [-1 if cached is None else cached for _, _, cached in blocks],
        [-1 if counts is None or ended.withdrawn[row] else counts[row] for row in kept],
        *([len(each) for each in tokens] for tokens in (sampled, emitted, contexts)),
        [-1] * len(kept),
    )
    stops = {str(at): ended.stops[row] for at, row in enumerate(kept) if row in ended.stops}
    return stops, {
        "small": np.array(columns, dtype=np.int32).T,
        "num_groups": np.array([len(each) for each in groups], dtype=np.int32),
        "num_blocks": np.array([len(group) for each in groups for group in each], dtype=np.int32),
        "blocks": _flat(group for each in groups for group in each),
        "sampled": cover.ids(_flat(sampled)),
        "emitted": cover.ids(_flat(emitted)),
        "context": cover.ids(_flat(contexts)),
    }


def _flat(rows: Iterable[Iterable[int]]) -> Array:
    return np.array(list(chain.from_iterable(rows)), dtype=np.int64)


def planned_and_ended(
    facts: Mapping[str, Any], arrays: Mapping[str, Array]
) -> list[tuple[int, Planned, RequestEnd]]:
    """Read a record of a launch: number of the request, plan and end, row by row."""
    takes = {name: _Take(arrays[name]) for name in ("num_blocks", "blocks", "sampled", "emitted", "context")}
    logprobs = _Take(arrays.get("logprobs", np.zeros(0, np.float32)))
    stops, rows = facts.get("stops", {}), []
    for row, (small, groups) in enumerate(
        zip(arrays["small"].tolist(), arrays["num_groups"].tolist(), strict=True)
    ):
        number, epoch, flags, drafts, cached, committed, *counts = small
        blocks = tuple(takes["blocks"].list_of(size) for size in takes["num_blocks"].list_of(groups))
        plan = Planned(
            epoch=epoch, is_chunk=bool(flags & 1), is_decode=bool(flags & 2), num_drafts=drafts,
            blocks=blocks if flags & 16 else None, is_whole=bool(flags & 4),
            num_cached=None if cached < 0 else cached,
        )  # fmt: skip
        end = RequestEnd(
            sampled=tuple(takes["sampled"].list_of(counts[0])),
            emitted=tuple(takes["emitted"].list_of(counts[1])),
            stop_reason=stops.get(str(row)),
            is_withdrawn=bool(flags & 8),
            committed_after=None if committed < 0 else committed,
            context=tuple(takes["context"].list_of(counts[2])),
            logprobs=None if counts[3] < 0 else tuple(logprobs.list_of(counts[3])),
        )
        rows.append((number, plan, end))
    return rows


class _Take:
    """The values of an array, taken from the front."""

    def __init__(self, values: Array) -> None:
        self._values, self._at = values, 0

    def list_of(self, size: int) -> list[Any]:
        if size > len(self._values) - self._at:
            raise ValueError("fewer values than a record says")
        self._at += size
        taken: list[Any] = self._values[self._at - size : self._at].tolist()
        return taken
