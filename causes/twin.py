"""A faulty path beside the same path without the mistake, on the same values: where they first differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from causes.differences import Difference, Rows, changed_rows, first_difference
from tracing.errors import LaunchRefusedError
from tracing.moment import STAGES
from tracing.stages import DecodePath, NullWatch, Stages, StageWatch
from workbench.lockstep.tensors.host import host_floats

Around = Callable[[], AbstractContextManager[None]]
GIVEN = {"tensorize": 1, "verify": 1, "accept": 2, "commit": 3}
"""How many results of other stages a stage is given."""


@dataclass
class Watched:
    """A state of the faulty path, and the twin's if it is the one that decodes.

    Attributes:
        inner: The faulty path's own state.
        twin: The right path's state, None on copies and other requests.
        launched: What both were about to launch: the faulty one's columns first.
    """

    inner: Any
    twin: Any = None
    launched: tuple[dict[str, Any], dict[str, Any]] = field(default_factory=lambda: ({}, {}))


class SpyWatch:
    """Passes everything on and keeps what was about to be launched."""

    def __init__(self, watch: StageWatch, kept: dict[str, Any]) -> None:
        self._watch, self._kept = watch, kept

    def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
        """Keep the columns of a launch."""
        self._kept[stage] = deepcopy(dict(columns))
        self._watch.about_to_run(stage, columns)

    def saw_draft_attention(self, **given: Any) -> None:
        """Pass on."""
        self._watch.saw_draft_attention(**given)


@dataclass
class Twins:
    """Two paths of one port, one of them with a mistake.

    Attributes:
        right, wrong: Both paths; each has models of its own.
        around: Entered for each stage of the wrong one.
        found: What the mistake first changed, None as long as nothing.
        steps: Steps begun so far; the one in progress is `steps - 1`.
    """

    right: DecodePath
    wrong: DecodePath
    around: Around
    found: Difference | None = None
    step: int = 0
    steps: int = 0
    _begun: bool = False

    @property
    def _first_of_a_step(self) -> str:
        """The first stage of the port that runs in each step."""
        return next(name for name in STAGES[1:] if getattr(self.wrong.stages, name) is not None)

    def path(self) -> DecodePath:
        """Return the wrong path, watched."""
        wrong = self.wrong
        rows, lengths, snapshot = wrong.kv_rows, wrong.kv_lengths, wrong.snapshot
        static, window = wrong.static_inputs, wrong.intermediates
        stages = {name: self._watched(name) for name in STAGES if getattr(wrong.stages, name) is not None}
        return replace(
            wrong,
            stages=Stages(**stages),
            begin=self._begin,
            kv_rows=rows and (lambda state, cache, positions: rows(state.inner, cache, positions)),
            kv_lengths=lengths and (lambda state, cache: lengths(state.inner, cache)),
            snapshot=snapshot and (lambda state: Watched(snapshot(state.inner))),
            static_inputs=static and (lambda state: static(state.inner)),
            intermediates=window and (lambda state, give: window(state.inner, give)),
        )

    def _begin(self, watch: StageWatch) -> Watched:
        state = Watched(None)
        first, self._begun = not self._begun, True
        with self.around():
            state.inner = self.wrong.begin(SpyWatch(watch, state.launched[0]) if first else watch)
        if first:
            state.twin = self.right.begin(SpyWatch(NullWatch(), state.launched[1]))
        return state

    def _watched(self, stage: str) -> Callable[..., Any]:
        run, right = getattr(self.wrong.stages, stage), getattr(self.right.stages, stage)

        def faulty(state: Watched, *given: Any) -> Any:
            if state.twin is None or self.found is not None:
                with self.around():
                    return run(state.inner, *given)
            self.steps += stage == self._first_of_a_step
            before = deepcopy(given)
            expected = right(state.twin, *deepcopy(given))
            try:
                with self.around():
                    result = run(state.inner, *given)
            except LaunchRefusedError:
                self._note(_launch_difference(stage, *state.launched))
                raise
            except Exception:
                self._note(Difference(stage, "raised"))
                raise
            self._note(_written(stage, before, given))
            caches = (_rows(self.right, state.twin), _rows(self.wrong, state.inner))
            try:
                self._note(first_difference(stage, expected, result, caches, before))
            except (AttributeError, TypeError, ValueError, IndexError):
                self._note(Difference(stage, "form"))
            self._note(_launch_difference(stage, *state.launched))
            return result

        return faulty

    def _note(self, difference: Difference | None) -> None:
        if self.found is None and difference is not None:
            self.found, self.step = difference, max(self.steps - 1, 0)


def _rows(path: DecodePath, state: Any) -> Rows:
    """Return all rows of the caches that a path shows."""
    if path.kv_rows is None or path.kv_lengths is None:
        return {}
    found: dict[str, Any] = {}
    for cache in ("main", "branch", "drafter"):
        lengths = path.kv_lengths(state, cache)
        if lengths and min(lengths) > 0:
            made = path.kv_rows(state, cache, np.arange(min(lengths)))
            found[cache] = None if made is None else host_floats(made)
    return found


def _written(stage: str, before: tuple[Any, ...], after: tuple[Any, ...]) -> Difference | None:
    """Return what a stage wrote into the results that it was given."""
    for was, now in zip(before[: GIVEN.get(stage, 0)], after, strict=False):
        for name in was.__dataclass_fields__:
            old, new = getattr(was, name), getattr(now, name)
            if isinstance(old, np.ndarray) or hasattr(old, "is_floating_point"):
                where = changed_rows(old, new, exact=True)
                if where is not None:
                    return Difference(stage, f"given {name}", int(where[0]) if where.size else None)
    return None


def _launch_difference(stage: str, wrong: Mapping[str, Any], right: Mapping[str, Any]) -> Difference | None:
    """Return the first column of a launch that is not what it should be."""
    ours, theirs = right.get(stage), wrong.get(stage)
    if ours is None or theirs is None:
        return None
    for name, value in ours.items():
        other = theirs.get(name)
        if value is None or other is None or isinstance(value, (str, int)):
            continue
        where = changed_rows(value, other, exact=True)
        if where is not None:
            return Difference(stage, f"launched {name}", int(where[0]) if where.size else None)
    return None
