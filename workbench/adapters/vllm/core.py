"""The scheduler's half of every launch: one record when it has ended, in the file of the engine core."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

from tracing.run_facts import RequestFacts
from workbench.adapters.vllm.alarms import AcceptanceWatch
from workbench.adapters.vllm.content import TokenCover
from workbench.adapters.vllm.cost import HookCost
from workbench.adapters.vllm.ended import (
    DRAFTS,
    SAMPLED,
    EndedLaunch,
    LiveRequest,
    OpenLaunch,
    PlannedLaunch,
    ended_columns,
)
from workbench.adapters.vllm.frames import ADMIT, ENDED, PREEMPTED, encoded
from workbench.adapters.vllm.part import PartFile, end_others
from workbench.adapters.vllm.settings import RecorderSettings

NUMBER: Final = "specwb_launch"
"""Attribute by which a scheduler output carries the number of its launch, into every worker."""
LEFT_OUT: Final = "specwb_left_out"
"""Attribute that names its requests that are not recorded."""
MAX_OPEN: Final = 64


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
        self._open: dict[int, OpenLaunch] = {}
        self._next_launch = 0
        self._acceptance = AcceptanceWatch()
        self._num_admitted = self._dp_rank = 0
        self.num_left_out = {"sample": 0, "budget": 0, "limit": 0}
        self.cost = HookCost()

    @property
    def has_begun(self) -> bool:
        """Whether the file is open."""
        return self._part is not None

    def begin(self, *, dp_rank: int, num_workers: int, vocab_size: int) -> None:
        """Open the file of this process, once."""
        if self._part is None:
            self._dp_rank = dp_rank
            facts = {"role": "core", "dp_rank": dp_rank, "num_workers": num_workers}
            self._part = PartFile(self._settings, f"core-dp{dp_rank}", facts, self._closing)
            self._cover = TokenCover(self._settings.key, vocab_size)

    def close(self) -> None:
        """End the file, and those of the workers; what follows is not recorded."""
        if self._part is not None:
            self._part.close()
            end_others(self._settings, f"-dp{self._dp_rank}")

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
        self._append(lambda: encoded(ADMIT, {**words, "facts": asdict(facts)}), is_fact=True)

    def _reason_against(self, request_id: str) -> str:
        if zlib.crc32(request_id.encode()) >= self._settings.sample * (1 << 32):
            return "sample"
        if self._part is not None and self._part.is_full:
            return "limit"
        return "budget" if self.cost.is_above(self._settings.budget) else ""

    def live(self, request_id: str) -> LiveRequest:
        """Return what is remembered of a request."""
        return self._lives[request_id]

    def scheduled(self, output: Any, plan: PlannedLaunch) -> None:
        """Give a launch its number, and keep its plan until it has ended; of too many the oldest go."""
        number = self._next_launch
        self._next_launch += 1
        lives = [self._lives[name] for name in plan.names]
        self._open[number] = OpenLaunch(plan, lives, [life.has_root for life in lives])
        left_out = [name for name, life in zip(plan.names, lives, strict=True) if not life.is_recorded]
        for life, is_chunk in zip(lives, plan.chunks, strict=True):
            life.last_launch = number
            if not is_chunk:
                life.has_root = True
        setattr(output, NUMBER, number)
        if left_out:
            setattr(output, LEFT_OUT, frozenset(left_out))
        while len(self._open) > MAX_OPEN:
            self._open.pop(next(iter(self._open)))

    def open_launch(self, number: int | None) -> OpenLaunch | None:
        """Return what was planned for a launch that has not ended."""
        return None if number is None else self._open.get(number)

    def preempted(self, request_id: str, epoch: int) -> None:
        """Record that a life of a request ended before its end."""
        life = self._lives.get(request_id)
        if life is not None and life.is_recorded:
            facts = {"number": life.number, "epoch": epoch, "launch": life.last_launch}
            self._append(lambda: encoded(PREEMPTED, facts))

    def ended(self, number: int, ended: EndedLaunch) -> None:
        """Write what a launch was planned to do and how it ended."""
        launch = self._open.pop(number, None)
        if launch is None:
            return
        names, lives = launch.plan.names, launch.lives
        kept = [row for row, life in enumerate(lives) if life.is_recorded and names[row] in self._lives]
        self.cost.add(len(kept))
        self._append(lambda: self._record(number, kept, launch, ended))
        for row, is_withdrawn in enumerate(ended.withdrawn):
            if is_withdrawn or row in ended.stops:
                self._lives.pop(names[row], None)

    def _record(self, number: int, kept: list[int], launch: OpenLaunch, ended: EndedLaunch) -> bytes:
        stops, columns = ended_columns(kept, launch, ended, self._cover)
        stepped = columns["small"][columns["small"][:, SAMPLED] > 0]
        found = self._acceptance.add(stepped[:, DRAFTS], stepped[:, SAMPLED] - 1)
        if found and self._part is not None:
            self._part.alarm(f"launch {number} has {found}")
        return encoded(ENDED, {"launch": number, **({"stops": stops} if stops else {})}, columns)

    def _append(self, make: Callable[[], bytes], *, is_fact: bool = False) -> None:
        if self._part is not None:
            self._part.append(make, is_fact=is_fact)
