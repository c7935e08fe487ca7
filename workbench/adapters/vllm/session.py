"""The recorder of one engine core: its open launches, its live requests, and the run it writes."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tracing.columns import COLUMN_BY_NAME
from tracing.run_facts import RequestFacts
from tracing.run_writer import RunWriter
from tracing.step_recorder import Trace
from workbench.adapters.vllm.launch import Launch, LaunchInputs, Logits, Planned, RequestEnd
from workbench.adapters.vllm.rows import Columns, rows_of
from workbench.adapters.vllm.split import scored_of, seen_of

NUMBER = "specwb_launch"
"""Attribute by which a scheduler output carries the number of its launch."""
MAX_OPEN = 64
_log = logging.getLogger("specwb.vllm")


@dataclass(slots=True)
class RequestLife:
    """What is remembered of a request.

    Attributes:
        prompt_id: Its number in the trace, by admission.
        next_step: Number of its next step.
        has_root: A launch that samples has been scheduled for it.
        is_greedy, is_plain: Its choice is the best logit; the best raw logit.
        last_launch: The last one in which it was scheduled.
    """

    prompt_id: int
    next_step: int = 0
    has_root: bool = False
    is_greedy: bool = True
    is_plain: bool = True
    last_launch: int | None = None


class EngineSession:
    """Joins what the hooks of scheduler and worker see, launch by launch, and writes it.

    Args:
        folder: Of the run; it is created with the first launch.
        level: Of the recorder.
    """

    def __init__(self, folder: str, level: str) -> None:
        self._folder, self._level = folder, level
        self._lock = threading.RLock()
        self._run: RunWriter | None = None
        self._trace: Trace | None = None
        self._lives: dict[str, RequestLife] = {}
        self._facts: dict[str, Any] = {}
        self._open: dict[int, Launch] = {}
        self._next_number = 0
        self._num_prompts = 0
        self._ranks: Columns = {}
        self._proposer: str | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the run is open."""
        return self._run is not None

    def begin(self, manifest: Mapping[str, Any], ranks: Columns, proposer: str | None) -> None:
        """Open the run with the engine's facts.

        Raises:
            SpecwbError: The folder cannot be taken.
        """
        self._run = RunWriter(self._folder, {**manifest, "recording": {"open_end": True}})
        self._trace = self._run.path("fused", level=self._level, lacks=("draft_logprobs",), on_error="warn")
        self._ranks, self._proposer = ranks, proposer
        atexit.register(self.close)
        _log.warning("specwb records this engine to %s", self._folder)

    def close(self) -> None:
        """End the run."""
        with self._lock:
            if self._run is not None:
                self._run.update(requests=self._facts)
                self._run.close()

    def knows(self, request_id: str) -> bool:
        """Return whether a request lives already."""
        return request_id in self._lives

    def live(self, request_id: str) -> RequestLife:
        """Return what is remembered of a request, from now on if it is new."""
        if request_id not in self._lives:
            self._lives[request_id] = RequestLife(self._num_prompts)
            self._num_prompts += 1
        return self._lives[request_id]

    def admit(self, request_id: str, facts: RequestFacts, *, is_plain: bool) -> None:
        """Take the limits and sampling settings of a request."""
        life = self.live(request_id)
        life.is_greedy, life.is_plain = facts.sampling.temperature == 0, is_plain
        self._facts[request_id] = asdict(facts)

    def scheduled(self, planned: dict[str, Planned]) -> int:
        """Open a launch and return its number; the oldest is given up where too many are open."""
        with self._lock:
            number = self._next_number
            self._next_number += 1
            self._open[number] = Launch(number, planned)
            while len(self._open) > MAX_OPEN:
                self._open.pop(next(iter(self._open)))
            for request_id, plan in planned.items():
                life = self.live(request_id)
                life.last_launch = number
                life.has_root = life.has_root or not plan.is_chunk
            return number

    def forward(self, number: int, seen: LaunchInputs) -> None:
        """Take what the attention of a launch was given."""
        launch = self._open.get(number)
        if launch is not None and launch.forward is None:
            launch.forward = seen

    def logits(self, number: int, seen: Logits) -> None:
        """Take what the sampler of a launch was given."""
        launch = self._open.get(number)
        if launch is not None and launch.logits is None:
            launch.logits = seen

    def preempted(self, request_id: str, epoch: int) -> None:
        """Record that a life of a request ended before its end."""
        life = self.live(request_id)
        self._write(life, {"row_kind": "preempted", "launch": life.last_launch, "request_id": request_id,
                           "request_epoch": epoch, **self._ranks})  # fmt: skip

    def ended(self, number: int, results: Mapping[str, RequestEnd]) -> None:
        """Write the rows of a launch."""
        with self._lock:
            launch = self._open.pop(number, None)
        if launch is None or self._trace is None:
            return
        seen = {} if launch.forward is None else seen_of(launch.forward)
        scores = {} if launch.forward is None or launch.logits is None else scored_of(
            launch.forward, launch.logits
        )  # fmt: skip
        for request_id, plan in launch.planned.items():
            life, result = self.live(request_id), results.get(request_id, RequestEnd(is_withdrawn=True))
            common = {"launch": number, "request_id": request_id, **self._ranks}
            if request_id not in seen:
                lost = {"incomplete": "no hook of the worker saw this launch", "request_epoch": plan.epoch}
                self._write(life, {"row_kind": "withdrawn", **common, **lost})
                continue
            scored = scores.get(request_id)
            if scored is not None:
                scored = scored.known(is_known=life.is_greedy and life.is_plain)
            for row in rows_of(plan, seen[request_id], scored, result):
                self._write(life, {**common, **row})
            if result.stop_reason is not None or result.is_withdrawn:
                self._lives.pop(request_id, None)

    def _write(self, life: RequestLife, row: Columns) -> None:
        if self._trace is None:
            return
        if row.get("row_kind") is None:
            row = {**row, "proposer": self._proposer}
        with self._trace.step(prompt_id=life.prompt_id, step=life.next_step) as step:
            step.record(**{name: value for name, value in row.items() if name in COLUMN_BY_NAME})
        if row.get("row_kind") is None:
            life.next_step += 1
