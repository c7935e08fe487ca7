"""Records of an engine core, each with those of its workers for the same launch, as rows of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracing.columns import COLUMN_BY_NAME
from tracing.run_writer import RunWriter
from tracing.step_recorder import Trace
from workbench.adapters.vllm.ended import planned_and_ended
from workbench.adapters.vllm.frames import ADMIT, ENDED, PREEMPTED, PartRecord
from workbench.adapters.vllm.launch import Planned, RequestEnd
from workbench.adapters.vllm.rows import Columns, Scored, SeenRequest, outcome, rows_of
from workbench.adapters.vllm.split import scored_of, seen_of
from workbench.adapters.vllm.worker import seen_and_scored

LOST_WORKER = "no worker's record of this launch"
LOST_REQUEST = "the worker's record of this launch lacks the request"


@dataclass(frozen=True, slots=True)
class WorkerFile:
    """A worker's file.

    Attributes:
        begin: Facts of its first record.
        seen: Gives its record of a launch, or None.
    """

    begin: Mapping[str, Any]
    seen: Callable[[int], PartRecord | None]


@dataclass(slots=True)
class JoinedLife:
    """A request as far as its rows are written.

    Attributes:
        prompt_id: Its number in the trace.
        request_id: The engine's name.
        knows_choice: Its choice is the best raw logit.
        next_step: Number of its next step; None: none of its rows is written.
    """

    prompt_id: int
    request_id: str
    knows_choice: bool
    next_step: int | None = None


class JoinedRows:
    """Writes the rows of one data-parallel rank: a path for each of its workers.

    Args:
        run: Where to.
        workers: By rank; the first one's path is `fused`.
        num_prompts: Prompts written before.

    Attributes:
        requests: Section of the manifest.
        num_prompts: Prompts written so far.
    """

    def __init__(self, run: RunWriter, workers: Sequence[WorkerFile], num_prompts: int) -> None:
        self.requests: dict[str, Any] = {}
        self.num_prompts = num_prompts
        self._lives: dict[int, JoinedLife] = {}
        self._workers = list(workers) or [
            WorkerFile({"ranks": {}, "level": "basic", "proposer": None}, _nothing)
        ]
        self._traces = [_trace(run, each) for each in self._workers]

    def take(self, record: PartRecord) -> None:
        """Take a record of the engine core."""
        facts = record.facts
        if record.kind == ADMIT:
            sampling = facts["facts"]["sampling"]
            is_known = bool(facts["is_plain"]) and sampling["temperature"] == 0
            self._lives[facts["number"]] = JoinedLife(self.num_prompts, facts["id"], is_known)
            self.num_prompts += 1
            self.requests[facts["id"]] = facts["facts"]
        elif record.kind == PREEMPTED and facts["number"] in self._lives:
            life = self._lives[facts["number"]]
            row = {"row_kind": "preempted", "launch": facts["launch"], "request_epoch": facts["epoch"]}
            for each in range(len(self._workers)):
                self._write(each, life, [row])
        elif record.kind == ENDED:
            self._launch(facts["launch"], planned_and_ended(facts, record.arrays))

    def _launch(self, number: int, rows: list[tuple[int, Planned, RequestEnd]]) -> None:
        stepped = set()
        for at, worker in enumerate(self._workers):
            record = worker.seen(number)
            seen, scores = _halves(record)
            reason = LOST_WORKER if record is None else LOST_REQUEST
            for request, plan, end in rows:
                life = self._lives.get(request)
                if life is None:
                    continue
                if life.next_step is None:
                    life.next_step = 0 if plan.is_whole and not plan.epoch else 1
                name = life.request_id
                if name in seen:
                    scored = scores.get(name)
                    known = None if scored is None else scored.known(is_known=life.knows_choice)
                    found = list(rows_of(plan, seen[name], known, end))
                else:
                    found = [_half_row(plan, end, reason)]
                stepped |= {request for each in found if each.get("row_kind") is None}
                self._write(at, life, [{"launch": number, **each} for each in found])
        for request, _, end in rows:
            life = self._lives.get(request)
            if life is not None:
                life.next_step = (life.next_step or 0) + (request in stepped)
                if end.stop_reason is not None or end.is_withdrawn:
                    del self._lives[request]

    def _write(self, at: int, life: JoinedLife, rows: list[Columns]) -> None:
        begin = self._workers[at].begin
        for row in rows:
            common = {"request_id": life.request_id, "proposer": begin["proposer"], **begin["ranks"]}
            with self._traces[at].step(prompt_id=life.prompt_id, step=life.next_step or 0) as step:
                known = {name: value for name, value in row.items() if name in COLUMN_BY_NAME}
                step.record(**common, **known)


def _trace(run: RunWriter, worker: WorkerFile) -> Trace:
    rank = worker.begin["ranks"].get("tp_rank", 0)
    name = "fused" if not rank else f"fused-tp{rank}"
    return run.path(name, level=worker.begin["level"], lacks=("draft_logprobs",), on_error="warn")


def _nothing(_: int) -> None:
    return None


def _halves(record: PartRecord | None) -> tuple[dict[str, SeenRequest], dict[str, Scored]]:
    if record is None:
        return {}, {}
    inputs, logits = seen_and_scored(record.facts, record.arrays)
    return seen_of(inputs), {} if logits is None else scored_of(inputs, logits)


def _half_row(plan: Planned, end: RequestEnd, reason: str) -> Columns:
    """Return what the scheduler alone knows of a request in a launch; the row says that it lacks the rest."""
    row: Columns = {"request_epoch": plan.epoch, "incomplete": reason}
    if end.is_withdrawn or not plan.is_decode or plan.is_chunk:
        kind = "withdrawn" if end.is_withdrawn else "recompute" if plan.epoch else "prefill_chunk"
        return {**row, "row_kind": kind}
    ended = {name: value for name, value in outcome(0, end).items() if name != "path_indices"}
    return {**ended, **row}
