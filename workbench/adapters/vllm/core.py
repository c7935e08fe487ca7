"""The scheduler's half of every launch: one record when it has ended, in the file of the engine core."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Final

import numpy as np

from tracing.run_facts import RequestFacts
from workbench.adapters.vllm.content import TokenCover
from workbench.adapters.vllm.cost import HookCost
from workbench.adapters.vllm.frames import ADMIT, ENDED, PREEMPTED, encoded
from workbench.adapters.vllm.launch import Planned, RequestEnd
from workbench.adapters.vllm.part import PartFile
from workbench.adapters.vllm.rows import Array
from workbench.adapters.vllm.settings import RecorderSettings

NUMBER: Final = "specwb_launch"
"""Attribute by which a scheduler output carries the number of its launch, into every worker."""
LEFT_OUT: Final = "specwb_left_out"
"""Attribute that names its requests that are not recorded."""
MAX_OPEN: Final = 64
WITHDRAWN: Final = RequestEnd(is_withdrawn=True)


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


class CoreRecorder:
    """Records what a scheduler decides and how it ends.

    Args:
        settings: Of the run.

    Attributes:
        num_left_out: Requests that are not recorded, by reason.
        cost: What the hooks of this process cost.
    """

    def __init__(self, settings: RecorderSettings) -> None:
        self._settings = settings
        self._part: PartFile | None = None
        self._cover = TokenCover(0, 0)
        self._lives: dict[str, LiveRequest] = {}
        self._open: dict[int, dict[str, Planned]] = {}
        self._next_launch = 0
        self._num_admitted = 0
        self.num_left_out = {"sample": 0, "budget": 0, "limit": 0}
        self.cost = HookCost()

    def begin(self, *, dp_rank: int, num_workers: int, vocab_size: int) -> None:
        """Open the file of this process, once."""
        if self._part is None:
            facts = {"role": "core", "dp_rank": dp_rank, "num_workers": num_workers}
            self._part = PartFile(self._settings, f"core-dp{dp_rank}", facts, self._closing)
            self._cover = TokenCover(self._settings.key, vocab_size)

    def close(self) -> None:
        """End the file; what follows is not recorded."""
        if self._part is not None:
            self._part.close()

    def _closing(self) -> dict[str, Any]:
        return {"left_out": self.num_left_out, "cost": self.cost.facts()}

    def knows(self, request_id: str) -> bool:
        """Return whether a request lives already."""
        return request_id in self._lives

    def admit(self, request_id: str, facts: RequestFacts, *, is_plain: bool) -> None:
        """Take a new request in, or decide that none of it is recorded."""
        reason = self._reason_against(request_id)
        self._lives[request_id] = LiveRequest(self._num_admitted, not reason)
        self._num_admitted += 1
        if reason:
            self.num_left_out[reason] += 1
            return
        if self._settings.key:
            stops = tuple(self._cover.list_of(facts.limits.stop_token_ids))
            facts = replace(facts, limits=replace(facts.limits, stop_token_ids=stops, stop_strings=()))
        words = {"number": self._lives[request_id].number, "id": request_id, "is_plain": is_plain}
        self._append(encoded(ADMIT, {**words, "facts": asdict(facts)}), is_fact=True)

    def _reason_against(self, request_id: str) -> str:
        if zlib.crc32(request_id.encode()) >= self._settings.sample * (1 << 32):
            return "sample"
        if self._part is not None and self._part.is_full:
            return "limit"
        return "budget" if self.cost.is_above(self._settings.budget) else ""

    def live(self, request_id: str) -> LiveRequest:
        """Return what is remembered of a request."""
        return self._lives[request_id]

    def scheduled(self, output: Any, plans: dict[str, Planned]) -> None:
        """Give a launch its number, and keep its plans until it has ended; of too many the oldest go."""
        number = self._next_launch
        self._next_launch += 1
        left_out = [each for each in plans if not self._lives[each].is_recorded]
        for request_id, plan in plans.items():
            life = self._lives[request_id]
            life.last_launch = number
            life.has_root = life.has_root or not plan.is_chunk
        setattr(output, NUMBER, number)
        if left_out:
            setattr(output, LEFT_OUT, frozenset(left_out))
        self._open[number] = plans
        while len(self._open) > MAX_OPEN:
            self._open.pop(next(iter(self._open)))

    def is_first_step(self, number: int, request_id: str) -> bool:
        """Return whether a launch is the first in which the request is no context; true once."""
        plan, life = self._open.get(number, {}).get(request_id), self._lives[request_id]
        if plan is None or life.has_context or plan.is_chunk or not plan.is_decode:
            return False
        life.has_context = True
        return True

    def preempted(self, request_id: str, epoch: int) -> None:
        """Record that a life of a request ended before its end."""
        life = self._lives.get(request_id)
        if life is not None and life.is_recorded:
            facts = {"number": life.number, "epoch": epoch, "launch": life.last_launch}
            self._append(encoded(PREEMPTED, facts))

    def ended(self, number: int, ends: Mapping[str, RequestEnd]) -> None:
        """Write what a launch was planned to do and how it ended."""
        plans = self._open.pop(number, None)
        if plans is None:
            return
        rows = [
            (self._lives[each], plan, ends.get(each, WITHDRAWN))
            for each, plan in plans.items()
            if each in self._lives and self._lives[each].is_recorded
        ]
        self.cost.add(len(rows))
        facts: dict[str, Any] = {"launch": number}
        reasons = {
            row: end.stop_reason for row, (_, _, end) in enumerate(rows) if end.stop_reason is not None
        }
        if reasons:
            facts["stops"] = reasons
        self._append(encoded(ENDED, facts, self._columns(rows)))
        for request_id in plans:
            end = ends.get(request_id, WITHDRAWN)
            if end.is_withdrawn or end.stop_reason is not None:
                self._lives.pop(request_id, None)

    def _columns(self, rows: list[tuple[LiveRequest, Planned, RequestEnd]]) -> dict[str, Array]:
        small = [
            (
                life.number, plan.epoch, plan.is_chunk + 2 * plan.is_decode + 4 * plan.is_whole
                + 8 * end.is_withdrawn + 16 * (plan.blocks is not None), plan.num_drafts,
                -1 if plan.num_cached is None else plan.num_cached,
                -1 if end.committed_after is None else end.committed_after,
                len(end.sampled), len(end.emitted), len(end.context),
                -1 if end.logprobs is None else len(end.logprobs),
            )
            for life, plan, end in rows
        ]  # fmt: skip
        groups = [list(plan.blocks or ()) for _, plan, _ in rows]
        columns = {
            "small": np.array(small, dtype=np.int32).reshape(len(rows), 10),
            "num_groups": np.array([len(each) for each in groups], dtype=np.int32),
            "num_blocks": np.array([len(group) for each in groups for group in each], dtype=np.int32),
            "blocks": _flat(group for each in groups for group in each),
            "sampled": self._cover.ids(_flat(end.sampled for _, _, end in rows)),
            "emitted": self._cover.ids(_flat(end.emitted for _, _, end in rows)),
            "context": self._cover.ids(_flat(end.context for _, _, end in rows)),
        }
        logprobs = [each for _, _, end in rows for each in end.logprobs or ()]
        return {**columns, "logprobs": np.array(logprobs, dtype=np.float32)} if logprobs else columns

    def _append(self, record: bytes, *, is_fact: bool = False) -> None:
        if self._part is not None:
            self._part.append(record, is_fact=is_fact)


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
