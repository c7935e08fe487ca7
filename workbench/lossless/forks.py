"""Depth-first over decisions: a function of chance is run once for every way in which they can fall."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from tracing.errors import UsageError
from workbench.lossless.law import Number

REPEATED_RUNS: Final = 4
"""First runs, which are done twice: a verifier with a source of chance of its own gives itself away."""


class NotRepeatableError(UsageError):
    """The function under test does not do the same twice at the same decisions: it has no law to judge."""

    exit_code = 4


class OpaqueDrawError(BaseException):
    """A draw was turned into a plain number, so that nobody can follow what becomes of it.

    Not an `Exception`, so that code under test does not swallow it.
    """


@dataclass(slots=True)
class Option:
    """One way in which a decision can fall.

    Attributes:
        weight: Its probability, given the decisions before.
        state: What is known of the draws afterwards; the decision's maker understands it.
        is_edge: It takes a draw of exactly 0, of which `weight` is the probability in floating point. It is
            no part of the law on the reals.
    """

    weight: Number
    state: Any = None
    is_edge: bool = False


@dataclass(slots=True)
class _Decision:
    label: str
    options: Sequence[Option]
    taken: int


class Forks:
    """The decisions of one run after another; whoever decides by chance asks here.

    Attributes:
        error: Bound on the total variation lost to decisions that were integrated numerically.
    """

    def __init__(self) -> None:
        self._decisions: list[_Decision] = []
        self._position = 0
        self._num_draws = 0
        self.error = 0.0

    def restart(self) -> None:
        """Begin a run at the decisions that stand."""
        self._position = self._num_draws = 0

    def number_of_draw(self) -> int:
        """Count a new draw and return its number within the run."""
        self._num_draws += 1
        return self._num_draws - 1

    def decide(self, label: str, options: Callable[[], tuple[Sequence[Option], float]]) -> tuple[int, Option]:
        """Return which option is taken in this run.

        Args:
            label: What is decided; the same at every run that comes here.
            options: Gives the options and a bound on their error, called once.

        Raises:
            NotRepeatableError: Another decision stands here since an earlier run.
        """
        if self._position == len(self._decisions):
            found, error = options()
            first = next((i for i, each in enumerate(found) if each.weight > 0 and not each.is_edge), None)
            if first is None:
                raise ValueError(f"{label}: no option has positive probability")
            self.error += error * float(self.weight())
            self._decisions.append(_Decision(label, found, first))
        decision = self._decisions[self._position]
        if decision.label != label:
            raise NotRepeatableError(
                f"the verifier is not repeatable: at the same draws it decided {decision.label}, then "
                f"{label}; it has a source of chance, or a state, that was not given to it here"
            )
        self._position += 1
        return decision.taken, decision.options[decision.taken]

    def choose(self, weights: Sequence[Number], label: str) -> int:
        """Return an index drawn with these weights, which need not sum to 1."""
        total = sum(weights, Fraction(0))
        return self.decide(label, lambda: ([Option(each / total) for each in weights], 0.0))[0]

    def weight(self) -> Number:
        """Return the probability of the decisions taken so far."""
        product: Number = Fraction(1)
        for decision in self._decisions:
            product *= decision.options[decision.taken].weight
        return product

    @property
    def is_on_an_edge(self) -> bool:
        """Whether one of the decisions is an edge."""
        return any(each.options[each.taken].is_edge for each in self._decisions)

    def advance(self) -> bool:
        """Go to the next way in which the decisions can fall; False when there is none."""
        if self._position != len(self._decisions):
            raise NotRepeatableError(
                "the verifier is not repeatable: at the same draws it first decided more often than now; "
                "it has a source of chance, or a state, that was not given to it here"
            )
        while self._decisions:
            last = self._decisions[-1]
            last.taken += 1
            while last.taken < len(last.options) and not self._is_worth(last):
                last.taken += 1
            if last.taken < len(last.options):
                return True
            self._decisions.pop()
        return False

    def _is_worth(self, decision: _Decision) -> bool:
        option = decision.options[decision.taken]
        if option.is_edge:  # one edge a run: two at once are beyond what any test sees
            return not any(each.options[each.taken].is_edge for each in self._decisions[:-1])
        return option.weight > 0


@dataclass
class Budget:
    """How long an enumeration may take.

    Attributes:
        runs: Calls of the function.
        seconds: Time.
    """

    runs: int = 200_000
    seconds: float = 120.0
    _begun: float = field(default_factory=time.monotonic)
    _used: int = 0

    def spend(self) -> bool:
        """Count one call; False when there is nothing left."""
        self._used += 1
        return self._used <= self.runs and time.monotonic() - self._begun < self.seconds

    @property
    def used(self) -> int:
        """Calls so far."""
        return self._used


@dataclass
class Enumeration:
    """What came of all runs.

    Attributes:
        law: Result to its probability.
        edges: Result to its probability in runs of which one draw is exactly 0, as floats can be.
        error: Bound on the total variation between `law` and the true one.
    """

    law: dict[Any, Number] = field(default_factory=dict)
    edges: dict[Any, Number] = field(default_factory=dict)
    error: float = 0.0
    runs: int = 0


def enumerate_runs(function: Callable[[Forks], Any], budget: Budget) -> Enumeration:
    """Return the law of what a function returns, by running it at every way its decisions can fall.

    What the budget does not reach is missing from the law and counted as error.

    Raises:
        NotRepeatableError: The function does not do the same at the same decisions.
    """
    forks, found, explored = Forks(), Enumeration(), 0.0
    while budget.spend():
        forks.restart()
        result = function(forks)
        if found.runs < REPEATED_RUNS:
            forks.restart()
            if function(forks) != result:
                raise NotRepeatableError("the verifier is not repeatable: two results at the same draws")
        weight = forks.weight()
        place = found.edges if forks.is_on_an_edge else found.law
        place[result] = place.get(result, 0) + weight
        explored += 0 if forks.is_on_an_edge else float(weight)
        found.runs += 1
        if not forks.advance():
            found.error = forks.error
            return found
    found.error = forks.error + max(0.0, 1 - explored)
    return found
