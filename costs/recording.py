"""What observing a decode costs, as a ratio to the same decode unobserved: recording, rules, lockstep."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from costs.row import Cost, Goal, Row
from costs.timing import middle
from costs.workshop import Workshop

if TYPE_CHECKING:
    from costs.variants import Variant
    from workbench.lockstep.session.request import DiffRequest, Session

NUM_STEPS: Final = 10
REPETITIONS: Final = 4
LOCKSTEP_TOKENS: Final = 96
LOCKSTEP_REPETITIONS: Final = 3
RATIO: Final = "lockstep.ratio"
LOCKSTEP_GOALS: Final[Mapping[str, Goal | None]] = {RATIO: Goal(5)}
PROMPT: Final = "code.txt"
GOALS: Final[Mapping[str, Goal | None]] = {
    "recording.basic": Goal(1.01),
    "recording.digest": None,
    "recording.full": None,
    "recording.rules": None,
}
LEVEL: Final = {"basic": "basic", "digest": "digest", "full": "full", "rules": "full"}
ABOUT: Final = {
    "basic": "level basic, top-8 included",
    "digest": "level digest",
    "full": "level full",
    "rules": "level full and every rule before each launch and after each step",
}


def _measure(workshop: Workshop) -> Iterator[Row]:
    session, request = _session(workshop.folder / "unused", NUM_STEPS * 10)
    workshop.say("decoding, unobserved and recorded")
    variants = _variants(session, request, workshop.folder / "recorded")
    prompt = session.turns[0].context([])
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    own: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(REPETITIONS + 1):
        _run_turn(variants, prompt)
        for name, variant in variants.items():
            seconds[name] += variant.seconds
            own[name] += variant.own
    warm = NUM_STEPS  # the first turn pays for what is made once
    for name in LEVEL:
        share = variants[name].seal() / len(own[name])
        pairs = zip(seconds[name][warm:], seconds["bare"][warm:], strict=True)
        value, spread = middle([(one + share) / other for one, other in pairs])
        more = (middle(own[name][warm:])[0] + share) * 1e6
        how = f"over an unrecorded decode, {ABOUT[name]}, processor of seals shared; {more:.0f} us of its own"
        yield Row(
            name=f"recording.{name}",
            value=value,
            unit="",
            goal=GOALS[f"recording.{name}"],
            spread=spread,
            how=f"{how}; {NUM_STEPS} steps of the shipped pair, interleaved, {REPETITIONS} times",
        )


def _run_turn(variants: Mapping[str, Variant], prompt: list[int]) -> None:
    """Decode one turn on every variant, all of them at each step, each step led by another one."""
    for variant in variants.values():
        variant.begin(prompt, NUM_STEPS * 20)
    waiting = deque(variants.values())
    for _ in range(NUM_STEPS):
        for variant in waiting:
            variant.step()
        waiting.rotate(1)


def _variants(session: Session, request: DiffRequest, folder: Path) -> dict[str, Variant]:
    from costs.variants import RecordedVariant, Variant
    from invariants.context import RunContext
    from invariants.run import Checker
    from tracing.recorder import RunWriter
    from workbench.judge.verdict import Tally
    from workbench.lockstep.recording.run_log import RunLog

    settings = request.options.settings
    variants: dict[str, Variant] = {"bare": Variant(session.path)}
    for name, level in LEVEL.items():
        run = RunWriter(folder / name)
        trace = run.path("fused", level=level)
        log = RunLog(run, {"fused": trace}, Checker(RunContext.from_settings(settings)), Tally(chain=False))
        variants[name] = RecordedVariant(session.path, trace, log, settings, rules=name == "rules")
    return variants


def _lockstep(workshop: Workshop) -> Iterator[Row]:
    """Judged turns and the same turns unobserved, in turn, by the processor's time of all threads."""
    from costs.variants import Variant
    from workbench.lockstep.judged_run import run_session

    session, request = _session(workshop.folder / "lockstep", LOCKSTEP_TOKENS)
    bare, ratios, steps = Variant(session.path), [], 0
    for number in range(LOCKSTEP_REPETITIONS + 1):
        workshop.say("decoding in lockstep")
        start = time.process_time()
        summary = run_session(session, replace(request, out=workshop.folder / f"judged-{number}"), _no_tick)
        judged, start = time.process_time() - start, time.process_time()
        bare.begin(session.turns[0].context([]), LOCKSTEP_TOKENS * 20)
        for _ in range(steps := summary.steps):
            bare.step()
        ratios.append(judged / (time.process_time() - start))
    value, spread = middle(ratios[1:])  # the first turn pays for what is made once
    how = (
        f"staged lockstep of a turn of {steps} steps, judged and recorded, over the same turn unobserved; "
        f"processor time, in turn, {LOCKSTEP_REPETITIONS} times"
    )
    yield Row(name=RATIO, value=value, unit="", goal=LOCKSTEP_GOALS[RATIO], spread=spread, how=how)


def _no_tick(_: int) -> None:
    """Show nothing."""


def _session(out: Path, max_new_tokens: int) -> tuple[Session, DiffRequest]:
    """Load the shipped pair and build our path, as `specwb diff` does."""
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap("auto")
    from tracing.settings import DecodeSettings
    from workbench.checkpoints.shipped import shipped_prompt
    from workbench.lockstep.session.job import LockstepOptions
    from workbench.lockstep.session.request import DiffRequest, open_session

    settings = DecodeSettings(max_new_tokens=max_new_tokens)
    request = DiffRequest(
        prompt_file=str(shipped_prompt(PROMPT)),
        out=out,
        options=LockstepOptions(settings=settings),
        backend=backend.as_json(),
    )
    return open_session(request), request


COSTS: Final = (
    Cost("recording", dict(GOALS), _measure),
    Cost("lockstep", dict(LOCKSTEP_GOALS), _lockstep),
)
