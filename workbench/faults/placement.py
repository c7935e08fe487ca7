"""Where a fault sits: around a stage, an operator or the reference, in a recorded row or a checkpoint.

A *placer* takes the function that spoils and returns where it acts; `@fault(..., placed=...)` takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from tracing.moment import STAGES
from tracing.stages import DecodePath, Stages, StageWatch
from workbench.fused.engine import Engine
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.npu import dispatch

Columns = Mapping[str, Any]
Memory = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A fault made ready for one run; whatever it does not touch is unchanged.

    Attributes:
        path: Wraps the path under test.
        around: Entered for the whole run: an operator or a function of the path is replaced inside.
        runner: Changes the reference.
        rows: `(path name, columns)` on their way to the trace; returns what is recorded, None drops the row.
        files: Changes a copy of the pair's folders, `(teacher, drafter)`, before anything is loaded.
    """

    path: Callable[[DecodePath], DecodePath] = lambda path: path
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    runner: Callable[[ReferenceRunner], None] | None = None
    rows: Callable[[str, Columns], Columns | None] | None = None
    files: Callable[[Path, Path], None] | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What a faulty stage can see.

    Attributes:
        state: The path's own state.
        arguments: What the stage was given besides the state.
        memory: What the fault remembers; it belongs to the state and is copied with it.
        engine: The fixed parts of the path.
    """

    state: Any
    arguments: tuple[Any, ...]
    memory: Memory
    engine: Engine


Change = Callable[[Any, Scene], Any]
"""`(result, scene)` to the faulty result; placed before a stage, `(arguments, scene)` to arguments."""

Spoil = Callable[..., Any]
Placer = Callable[[Spoil], Placement]


@dataclass(slots=True)
class Remembering:
    """A path's state together with the fault's own memory."""

    inner: Any
    memory: Memory = field(default_factory=dict)


def after(stage: str, *, since: int = 0) -> Placer:
    """Spoil what a stage returns, from the given call of the stage on."""
    return lambda change: on_stages(after={stage: _late(change, since)})


def before(stage: str) -> Placer:
    """Spoil what a stage is given; other readers of the arguments see them unchanged."""
    return lambda change: on_stages(before={stage: change})


def on_stages(
    *, before: Mapping[str, Change] | None = None, after: Mapping[str, Change] | None = None
) -> Placement:
    """Spoil several stages with one memory."""
    return Placement(path=lambda path: _spoiled(path, before or {}, after or {}))


def _late(change: Change, since: int) -> Change:
    def late(result: Any, scene: Scene) -> Any:
        number = scene.memory.get("calls", 0)
        scene.memory["calls"] = number + 1
        return change(result, scene) if number >= since else result

    return late if since else change


def _spoiled(path: DecodePath, first: Mapping[str, Change], then: Mapping[str, Change]) -> DecodePath:
    engine = engine_of(path)

    def wrap(stage: str) -> Callable[..., Any]:
        run = getattr(path.stages, stage)
        enter, leave = first.get(stage), then.get(stage)

        def faulty(state: Remembering, *given: Any) -> Any:
            scene = Scene(state.inner, given, state.memory, engine)
            result = run(state.inner, *(enter(given, scene) if enter else given))
            return leave(result, scene) if leave else result

        return faulty

    return _on_remembering(replace(path, stages=Stages(**{name: wrap(name) for name in STAGES})), path)


def _on_remembering(made: DecodePath, path: DecodePath) -> DecodePath:
    """Let windows, copies and beginnings of `path` work on states with a memory."""
    begin, rows, lengths, snapshot = path.begin, path.kv_rows, path.kv_lengths, path.snapshot
    static, window = path.static_inputs, path.intermediates

    def begin_remembering(watch: StageWatch, *chooser: Any) -> Remembering:
        return Remembering(begin(watch, *chooser))

    def copied(state: Remembering) -> Remembering:
        assert snapshot is not None
        return Remembering(snapshot(state.inner), deepcopy(state.memory))

    return replace(
        made,
        begin=begin_remembering,
        kv_rows=rows and (lambda state, cache, positions: rows(state.inner, cache, positions)),
        kv_lengths=lengths and (lambda state, cache: lengths(state.inner, cache)),
        snapshot=snapshot and copied,
        static_inputs=static and (lambda state: static(state.inner)),
        intermediates=window and (lambda state, give: window(state.inner, give)),
    )


def engine_of(path: DecodePath) -> Engine:
    """Return the fixed parts of our fused path."""
    return cast("Engine", cast("partial[Any]", path.stages.verify).args[0])


def on_path(change: Callable[[DecodePath], DecodePath]) -> Placement:
    """Change the path as a whole."""
    return Placement(path=change)


def on_engine(change: Callable[[Engine], Engine]) -> Placement:
    """Exchange a part that all stages share: a model, the settings, the switches."""

    def place(path: DecodePath) -> DecodePath:
        engine = change(engine_of(path))
        stages = {name: partial(getattr(path.stages, name).func, engine) for name in STAGES}
        return replace(path, stages=Stages(**stages), begin=engine.begin)

    return on_path(place)


def on_operator(name: str) -> Placer:
    """Let `faulty(operator, *arguments, **options)` stand in for one of the device's operators."""
    return lambda faulty: Placement(around=_exchanged(name, faulty))


def within(stage: str, name: str) -> Placer:
    """As `on_operator`, in launches of one stage only."""

    def placer(faulty: Spoil) -> Placement:
        def place(path: DecodePath) -> DecodePath:
            run, exchanged = getattr(path.stages, stage), _exchanged(name, faulty)

            def faulty_stage(*given: Any) -> Any:
                with exchanged():
                    return run(*given)

            return replace(path, stages=replace(path.stages, **{stage: faulty_stage}))

        return on_path(place)

    return placer


def _exchanged(name: str, faulty: Spoil) -> Callable[[], AbstractContextManager[None]]:
    return lambda: dispatch.wrapped(name, lambda operator: partial(faulty, operator))


def on_function(module: object, name: str) -> Placer:
    """Let `faulty(function, *arguments)` stand in for a function of a stage's module."""

    def placer(faulty: Spoil) -> Placement:
        @contextmanager
        def patched() -> Iterator[None]:
            original = getattr(module, name)
            setattr(module, name, partial(faulty, original))
            try:
                yield
            finally:
                setattr(module, name, original)

        return Placement(around=patched)

    return placer


def on_rows(change: Callable[[Columns], Columns | None]) -> Placement:
    """Spoil rows of the path under test on their way to the trace; decoding itself is unchanged."""
    return Placement(rows=lambda name, columns: change(columns) if name == "fused" else columns)


def on_reference(change: Callable[[ReferenceRunner], None]) -> Placement:
    """Spoil the reference."""
    return Placement(runner=change)


def on_files(change: Callable[[Path, Path], None]) -> Placement:
    """Spoil a copy of the pair's folders, `(teacher, drafter)`."""
    return Placement(files=change)


def once_per_run(placer: Placer) -> Placer:
    """Place what a function without arguments makes: a spoiling function with a memory for one run."""
    return lambda make: placer(make())
