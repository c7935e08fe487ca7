"""Asks runners which of several cases keeps the finding first; what was run once is not run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workbench.reduce.case import RunCase
from workbench.reduce.kept import Outcomes
from workbench.reduce.outcome import CaseOutcome, CaseTrial, Same

Tell = Callable[[RunCase, CaseOutcome], object]


class TimeIsUpError(Exception):
    """The time limit has passed; what was reached so far stands."""


class Runner(Protocol):
    """Runs trials, several at a time."""

    @property
    def capacity(self) -> int:
        """Trials that can run at once."""
        ...

    def submit(self, key: str, trial: CaseTrial) -> None:
        """Begin a trial; fewer than `capacity` are running."""
        ...

    def wait(self, seconds: float | None) -> list[tuple[str, CaseOutcome]]:
        """Return what has ended, at least one unless the time is up."""
        ...


@dataclass(slots=True)
class Evaluator:
    """Knows every outcome so far.

    Attributes:
        runner: Runs what is not known.
        outcomes: What is.
        target: The finding that should stay.
        most_trials: Runs of a case until it shows, for a finding that comes and goes.
        control: Whether our own path must be without findings on a case that keeps it.
        deadline: On `time.monotonic`, or None.
        tell: Called with each case that was run.
        num_run: Cases run, and not known before.
    """

    runner: Runner
    outcomes: Outcomes
    target: Same
    most_trials: int = 1
    control: bool = True
    deadline: float | None = None
    tell: Tell = lambda _case, _outcome: None
    num_run: int = 0
    _running: dict[str, RunCase] = field(default_factory=dict)

    def first(self, cases: Sequence[RunCase]) -> int | None:
        """Return the place of the first case that keeps the finding; None where none does.

        Raises:
            TimeIsUpError: Not known before the time is up.
        """
        keys = [case.key for case in cases]
        waiting = iter([number for number, key in enumerate(keys) if self.outcomes.get(key) is None])
        following = next(waiting, None)
        while True:
            decided = self._decided(keys)
            if decided is not None:
                return None if decided == len(keys) else decided
            bound = self._known_to_keep(keys)
            while following is not None and following < bound and self._has_room():
                self._submit(keys[following], cases[following])
                following = next(waiting, None)
            self._collect()

    def _decided(self, keys: Sequence[str]) -> int | None:
        """Return the first that keeps it, `len(keys)` if none does; None while that is open."""
        for number, key in enumerate(keys):
            outcome = self.outcomes.get(key)
            if outcome is None:
                return None
            if outcome.keeps(self.target):
                return number
        return len(keys)

    def _known_to_keep(self, keys: Sequence[str]) -> int:
        """Return a place from which on no case matters any more."""
        for number, key in enumerate(keys):
            outcome = self.outcomes.get(key)
            if outcome is not None and outcome.keeps(self.target):
                return number
        return len(keys)

    def _has_room(self) -> bool:
        return len(self._running) < self.runner.capacity

    def _submit(self, key: str, case: RunCase) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeIsUpError
        if key not in self._running:
            self._running[key] = case
            self.runner.submit(key, CaseTrial(case, self.target, self.most_trials, self.control))

    def _collect(self) -> None:
        left = None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)
        ended = self.runner.wait(left)
        if not ended and left is not None:
            raise TimeIsUpError
        for key, outcome in ended:
            case = self._running.pop(key)
            self.outcomes.add(key, outcome)
            self.num_run += 1
            self.tell(case, outcome)


class Here:
    """Runs trials in this process, one at a time."""

    capacity = 1

    def __init__(self, run: Callable[[CaseTrial], CaseOutcome]) -> None:
        """Take what runs a trial."""
        self._run = run
        self._ended: list[tuple[str, CaseOutcome]] = []

    def submit(self, key: str, trial: CaseTrial) -> None:
        """Run a trial to its end."""
        self._ended.append((key, self._run(trial)))

    def wait(self, _seconds: float | None) -> list[tuple[str, CaseOutcome]]:
        """Return what has ended."""
        ended, self._ended = self._ended, []
        return ended
