"""A decoder takes a context and returns its text with the time it took; both sides are timed alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tracing.stages import DecodePath, NullWatch
from workbench.fused.engine import Engine
from workbench.fused.greedy import decode_greedy
from workbench.judge.turn_state import TurnState
from workbench.lockstep.engine.step import NULL_OBSERVER, StageObserver, begin_turn, steps_of_turn
from workbench.lockstep.engine.under_test import PathUnderTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One generation call.

    Attributes:
        token_ids: Everything emitted, the first token included.
        seconds: Wall time of the whole call, prefill included, device synchronised at both ends.
        first_token_seconds: Until the first token was known on the host; None where that is not known.
        num_accepted: Accepted draft tokens of each step; empty without speculation.
        choice: What was chosen for this call, where something chooses.
        processor_seconds: Of all threads during the call, where they were counted.
    """

    token_ids: tuple[int, ...]
    seconds: float
    first_token_seconds: float | None
    num_accepted: tuple[int, ...] = ()
    choice: str | None = None
    processor_seconds: float | None = None

    @property
    def tokens_per_second(self) -> float:
        """Emitted tokens over wall time, as the paper's Tok/s."""
        return len(self.token_ids) / self.seconds

    @property
    def seconds_per_token(self) -> float | None:
        """Time per token behind the first, None where there is only one."""
        num_later = len(self.token_ids) - 1
        first = self.first_token_seconds
        return (self.seconds - first) / num_later if num_later and first is not None else None

    @property
    def uncut(self) -> tuple[int, ...]:
        """Accepted tokens of each step but the last, which EOS or the token limit cut short."""
        return self.num_accepted[:-1]


Decoder = Callable[[Sequence[int], int], Decoded]
"""`(prompt_token_ids, max_new_tokens)`."""


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """A clock that waits for the device.

    Attributes:
        now: Seconds.
        synchronize: Returns when the device has finished all that was launched.
    """

    now: Callable[[], float] = time.perf_counter
    synchronize: Callable[[], Any] = field(default=lambda: None)

    def read(self) -> float:
        """Return the time at which everything so far is done."""
        self.synchronize()
        return self.now()


def stopwatch_for(device: Any) -> Stopwatch:
    """Return a stopwatch for a torch device, or for its name."""
    import torch

    device = torch.device(device)
    module = getattr(torch, device.type, None)
    synchronize = getattr(module, "synchronize", None)
    return Stopwatch() if device.type == "cpu" or synchronize is None else Stopwatch(synchronize=synchronize)


def trial_stopwatch(device: Any) -> Stopwatch:
    """Return a stopwatch for times that are only compared with each other.

    One thread on the CPU does the same work in the same processor time, however busy the machine is.
    """
    import torch

    is_alone = torch.device(device).type == "cpu" and torch.get_num_threads() == 1
    return Stopwatch(now=time.process_time) if is_alone else stopwatch_for(device)


@contextmanager
def loaded_set_aside() -> Iterator[None]:
    """Keep what is loaded by now out of garbage collections inside: modules and weights outlive them."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect garbage now and not during the call, for both sides alike, as `timeit` does."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def greedy_decoder(engine: Engine, stopwatch: Stopwatch) -> Decoder:
    """Return teacher-only greedy decoding on an engine."""

    def decode(prompt: Sequence[int], max_new_tokens: int) -> Decoded:
        known: list[float] = []

        def note(_: int) -> None:
            if not known:
                known.append(stopwatch.now())

        with collector_paused():
            start = stopwatch.read()
            token_ids = decode_greedy(engine, prompt, max_new_tokens, on_token=note)
            stop = stopwatch.read()
        return Decoded(token_ids=tuple(token_ids), seconds=stop - start, first_token_seconds=known[0] - start)

    return decode


def speculative_decoder(
    path: DecodePath,
    eos_token_ids: frozenset[int],
    stopwatch: Stopwatch,
    observer: StageObserver = NULL_OBSERVER,
) -> Decoder:
    """Return speculative decoding on a path with all its stages; `observer` follows those of each call."""

    def decode(prompt: Sequence[int], max_new_tokens: int) -> Decoded:
        with collector_paused():
            start = stopwatch.read()
            running = PathUnderTest.begin(path, NullWatch())
            state = TurnState(0, 0, max_new_tokens)
            return decode_turn(
                running, state, prompt, eos_token_ids, stopwatch, start=start, observer=observer
            )

    return decode


def decode_turn(
    running: PathUnderTest,
    turn_state: TurnState,
    prompt: Sequence[int],
    eos_token_ids: frozenset[int],
    stopwatch: Stopwatch,
    *,
    start: float,
    observer: StageObserver = NULL_OBSERVER,
) -> Decoded:
    """Decode a request on a path with a fresh state; its time counts from `start`."""
    begin_turn(running, turn_state, prompt, eos_token_ids, observer)
    first = stopwatch.read()
    num_accepted = [
        len(step.accepted.accepted_nodes) for step in steps_of_turn(running, turn_state, observer)
    ]
    return Decoded(
        token_ids=tuple(turn_state.emitted),
        seconds=stopwatch.read() - start,
        first_token_seconds=first - start,
        num_accepted=tuple(num_accepted),
    )
