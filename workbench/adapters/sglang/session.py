"""The recorder of one scheduler process: binds verifications to results, and writes rows of requests."""

from __future__ import annotations

import atexit
import itertools
import logging
import threading
from dataclasses import asdict, dataclass
from typing import Any, Final

from tracing.run_writer import RunWriter
from tracing.step_recorder import Trace
from workbench.adapters.sglang.captured import Captured, gave, given, kind_of
from workbench.adapters.sglang.manifest import facts_of, manifest_of, proposer_of, stop_reason_of
from workbench.adapters.sglang.trees import Columns, accepted_columns, tree_columns, verified_columns
from workbench.adapters.vllm.patches import guarded

BOUND: Final = "specwb_launch"
"""Attribute by which a result carries its launch."""
_log = logging.getLogger("specwb.sglang")


@dataclass(slots=True)
class RequestTurns:
    """What is remembered of a request.

    Attributes:
        prompt_id: Its number in the trace.
        epoch: Retractions before its last launch.
        turn: Its context began so often anew: the token that a resumed prefill gives is in no step.
        next_step: Of this turn.
    """

    prompt_id: int
    epoch: int = 0
    turn: int = 0
    next_step: int = 0

    def at(self, epoch: int) -> None:
        """Begin a turn where the request was retracted since."""
        if epoch != self.epoch:
            self.epoch, self.turn, self.next_step = epoch, self.turn + 1, 0


@dataclass(frozen=True, slots=True)
class BoundLaunch:
    """A launch that is bound to its result.

    Attributes:
        number: Of the launch.
        epochs: Retractions of each request so far.
        captured: Its verification.
    """

    number: int
    epochs: list[int]
    captured: Captured


@dataclass(frozen=True, slots=True)
class RequestBefore:
    """A request before the scheduler takes the results of a launch.

    Attributes:
        text: Prompt and text so far.
        num_output: Tokens of text so far.
        is_over: It has ended or was retracted: what the launch gave is thrown away.
    """

    text: list[int]
    num_output: int
    is_over: bool


class SglangSession:
    """Hooks of one process, as the engine's registry takes them: `hook(original, *args, **kwargs)`.

    Args:
        folder: Of the run; it is created with the first verification.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._inside = threading.local()
        self._launches = itertools.count()
        self._run: RunWriter | None = None
        self._trace: Trace | None = None
        self._lives: dict[str, RequestTurns] = {}
        self._facts: dict[str, Any] = {}
        self._given_up = False

    def run(self, original: Any, scheduler: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a batch; the verification inside it is bound to its result."""
        self._inside.captured = None
        result = original(scheduler, batch, *args, **kwargs)
        captured = self._inside.captured
        if captured is not None and not self._given_up:
            guarded(self._bind, scheduler, batch, result, captured)
        return result

    def sample(
        self, original: Any, verify_input: Any, batch: Any, logits_output: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Verify and accept; copies what goes in and what comes out."""
        idle = self._given_up or batch.forward_mode.is_idle()
        copies = None if idle else guarded(given, verify_input, batch)
        result = original(verify_input, batch, logits_output, *args, **kwargs)
        if copies is not None:
            grammar_mask = args[0] if args else kwargs.get("grammar_mask")
            done = (logits_output.next_token_logits, *result)
            self._inside.captured = guarded(
                _captured, {**copies, **(guarded(gave, *done) or {})}, verify_input, batch, grammar_mask
            )
        return result

    def process(self, original: Any, processor: Any, batch: Any, result: Any) -> Any:
        """Let the scheduler take a result, and write what each request made of it."""
        launched = getattr(result, BOUND, None)
        before = None if launched is None else guarded(_before, batch)
        returned = original(processor, batch, result)
        if before is not None:
            guarded(self._write_launch, launched, batch, before)
        return returned

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.update(requests=self._facts)
            self._run.close()
            self._run = self._trace = None

    def _bind(self, scheduler: Any, batch: Any, result: Any, captured: Captured) -> None:
        if self._run is None:
            try:
                self._begin(scheduler, batch)
            except Exception:
                self._given_up = True
                raise
        if self._trace is not None:
            epochs = [int(each.retraction_count) for each in batch.reqs]
            setattr(result, BOUND, BoundLaunch(next(self._launches), epochs, captured))

    def _begin(self, scheduler: Any, batch: Any) -> None:
        manifest = manifest_of(scheduler, batch)
        if manifest is None:
            self._given_up = True  # another rank records
            return
        self._run = RunWriter(self._folder, {**manifest, "recording": {"open_end": True}})
        self._trace = self._run.path("fused", level="basic", lacks=("draft_logprobs",), on_error="warn")
        atexit.register(self.close)
        _log.warning("specwb records this engine to %s", self._folder)

    def _write_launch(self, launched: BoundLaunch, batch: Any, before: list[RequestBefore]) -> None:
        verified = launched.captured.on_host()
        for row, (request, was) in enumerate(zip(batch.reqs, before, strict=True)):
            life = self._life(request)
            columns: Columns = {
                "launch": launched.number,
                "request_id": request.rid,
                "request_epoch": launched.epochs[row],
                "batch_row": row,
                **tree_columns(verified, row),
            }
            if was.is_over:
                kept = {name: value for name, value in columns.items() if name not in TREE}
                self._write(life, {**kept, "row_kind": "withdrawn"})
                continue
            life.at(launched.epochs[row])
            num_emitted = len(_emitted(request)) - was.num_output
            reason = stop_reason_of(request)
            if life.next_step == 0:
                columns["context_token_ids"] = was.text
            columns |= verified_columns(verified, row) | accepted_columns(verified, row, num_emitted, reason)
            self._write(life, {**columns, "proposer": proposer_of(batch)})
            life.next_step += 1
            if request.finished():
                self._lives.pop(request.rid, None)

    def _life(self, request: Any) -> RequestTurns:
        if request.rid not in self._lives:
            self._facts[request.rid] = asdict(facts_of(request))
            self._lives[request.rid] = RequestTurns(len(self._facts) - 1)
        return self._lives[request.rid]

    def _write(self, life: RequestTurns, columns: Columns) -> None:
        if self._trace is not None:
            with self._trace.step(prompt_id=life.prompt_id, turn=life.turn, step=life.next_step) as step:
                step.record(**columns)


TREE: Final = ("parents", "depths", "visible", "index_sites")
"""Columns that a row which is no step has not."""


def _captured(copies: Any, verify_input: Any, batch: Any, grammar_mask: Any) -> Captured | None:
    if "predict" not in copies:
        return None  # what it gave could not be copied
    sampling = batch.sampling_info
    return Captured(
        copies,
        logits_kind=kind_of(sampling, grammar_mask),
        is_greedy=bool(sampling.is_all_greedy),
        is_compacted=int(getattr(verify_input, "topk", 0)) != 1,
    )


def _before(batch: Any) -> list[RequestBefore]:
    return [
        RequestBefore(
            text=[*map(int, request.origin_input_ids), *map(int, request.output_ids)],
            num_output=len(request.output_ids),
            is_over=bool(request.finished() or request.is_retracted),
        )
        for request in batch.reqs
    ]


def _emitted(request: Any) -> Any:
    """Return what the user gets of a request's text."""
    end = request.finished_len
    return request.output_ids if end is None else request.output_ids[:end]
