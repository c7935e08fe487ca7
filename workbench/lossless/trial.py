"""The law of a user's verifier on a problem: followed exactly where it can be, else opened or sampled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from workbench.lossless.compare import Comparisons
from workbench.lossless.drafting import DraftedTree, LaidOut, laid_out
from workbench.lossless.forks import Budget, Forks, OpaqueDrawError, enumerate_runs
from workbench.lossless.law import Number
from workbench.lossless.opening import Coordinates, OpenedLaw, opened
from workbench.lossless.patched import modules_fork
from workbench.lossless.problem import Problem
from workbench.lossless.sources import ForkingChance, ForkingGenerator, ForkingRandom
from workbench.lossless.tape import Tape, TapeChance, TapeForks
from workbench.lossless.verifier import Emitted, Numbers, Raised, Verifier, call, values_of

How = Literal["exact", "integrated", "opened", "sampled"]
BATCH_ROWS: Final = 2
AS_ARRAYS: Final = ("uniforms", "final_uniform", "exponentials")
SCOUTS: Final = 8
"""Runs that tell what a verifier draws."""


@dataclass
class VerifierTrial:
    """What a verifier does on a problem.

    Attributes:
        law: What it emits, or how it fails, to probability.
        edges: What it emits where one draw is exactly 0, to the probability of that in floating point.
        error: Bound on the total variation to the true law, rounding left out.
        how: `exact`: all decisions were followed; `integrated`: draws that were combined, on boxes; `opened`:
            draws that could not be followed, by bisection; `sampled`: that failed too.
        numbers: What it got for probabilities.
        runs: Calls.
    """

    law: dict[Emitted, Number]
    edges: dict[Emitted, Number]
    error: float
    how: How
    numbers: Numbers
    runs: int


def tried(
    verifier: Verifier, problem: Problem, numbers: Numbers | None, budget: Budget, samples: int
) -> VerifierTrial:
    """Return the law of a verifier on a problem.

    Args:
        verifier: Function under test.
        problem: The problem.
        numbers: Form of the probabilities; None tries fractions first, then float64.
        budget: What the enumeration may cost.
        samples: Size of a sample, if it comes to that.

    Raises:
        NotRepeatableError: It does not do the same at the same draws.
    """
    usual: tuple[Numbers, ...] = ("float64",) if verifier.uses_torch else ("fraction", "float64")
    forms = (numbers,) if numbers else usual
    if verifier.uses_torch:  # or its random functions would not fork yet
        import torch  # noqa: F401 for its effect
    subject = _Subject(verifier, problem)
    with redirect_stdout(sys.stderr):
        subject.warm_up(forms[-1])
    with redirect_stdout(sys.stderr), modules_fork(subject.generator, subject.plain):
        trial = None
        for form in forms:
            with suppress(OpaqueDrawError):
                trial = subject.followed(form, budget)
                if not _raised(trial):
                    return trial
        blunt = subject.opened(forms[-1], budget, samples)
    return trial if trial is not None and _raised(blunt) >= _raised(trial) else blunt


def sampled_results(verifier: Verifier, problem: Problem, numbers: Numbers, count: int) -> list[Emitted]:
    """Return what a verifier emits in so many runs, drafts and draws by chance; always the same runs."""
    subject = _Subject(verifier, problem)
    with redirect_stdout(sys.stderr), modules_fork(subject.generator, subject.plain):
        return [subject.once(numbers, seed) for seed in range(count)]


def _raised(trial: VerifierTrial) -> Number:
    """Probability of an exception."""
    return sum((weight for key, weight in trial.law.items() if isinstance(key, Raised)), Fraction(0))


class _Subject:
    """A verifier on a problem, with sources of chance that can be given another law."""

    def __init__(self, verifier: Verifier, problem: Problem) -> None:
        self._verifier = verifier
        self._problem = problem
        nothing = TapeChance(Tape())
        self.generator = ForkingGenerator(nothing)
        self.plain = ForkingRandom(nothing)

    def _trees(self, forks: Forks) -> tuple[LaidOut, ...]:
        rows = BATCH_ROWS if self._verifier.is_batched else 1
        return tuple(laid_out(DraftedTree(self._problem, forks)) for _ in range(rows))

    def warm_up(self, numbers: Numbers) -> None:
        """Call the verifier once with plain numbers, nothing patched, for what it imports or builds once."""
        tape = Tape()
        self._called(TapeChance(tape), self._trees(Forks()), numbers)

    def followed(self, numbers: Numbers, budget: Budget) -> VerifierTrial:
        """Enumerate all decisions.

        Raises:
            OpaqueDrawError: A draw became a plain number.
        """
        state: list[Comparisons] = []

        def run(forks: Forks) -> Emitted:
            if not state:
                state.append(Comparisons(forks))
            state[0].restart()
            return self._called(ForkingChance(forks, state[0].fresh), self._trees(forks), numbers)

        found = enumerate_runs(run, budget)
        how: How = "integrated" if state[0].is_integrated else "exact"
        return VerifierTrial(found.law, found.edges, found.error, how, numbers, found.runs)

    def once(self, numbers: Numbers, seed: int) -> Emitted:
        """Run once, with a tree and draws of a tape."""
        chance = TapeChance(Tape(seed=seed))
        return self._called(chance, self._trees(TapeForks(chance)), numbers)

    def _called(self, chance: ForkingChance, trees: tuple[LaidOut, ...], numbers: Numbers) -> Emitted:
        self.generator.chance = self.plain.chance = chance
        values = values_of(self._verifier, self._problem, trees, numbers)
        sources = self._sources(chance, len(trees[0].tokens), 24 if numbers == "float32" else 53)
        return call(self._verifier, values | sources, self._problem.vocab, self._problem.depth + 1)

    def _sources(self, chance: ForkingChance, nodes: int, bits: int) -> dict[str, Any]:
        """Return the sources of chance that a verifier asks for."""
        lead = (BATCH_ROWS,) if self._verifier.is_batched else ()
        uses_torch = self._verifier.uses_torch

        def uniform() -> Any:
            return chance.uniform_draw(bits)

        made: dict[str, Callable[[], Any]] = {
            "rng": lambda: self.generator,
            "random": lambda: self.plain,
            "generator": lambda: _torch_generator() if uses_torch else self.generator,
            "uniforms": lambda: chance.filled((*lead, nodes - 1), uniform),
            "final_uniform": lambda: chance.filled(lead, uniform) if lead else uniform(),
            "exponentials": lambda: chance.exponential_rows((*lead, nodes, self._problem.vocab)),
        }
        asked = {name: make() for name, make in made.items() if name in self._verifier.parameters}
        return {
            name: _as_tensor(value) if uses_torch and name in AS_ARRAYS else value
            for name, value in asked.items()
        }

    def opened(self, numbers: Numbers, budget: Budget, samples: int) -> VerifierTrial:
        """Give the verifier plain numbers, for every tree of drafts that can come."""
        limits = Budget(budget.runs, budget.seconds)
        drafted = enumerate_runs(lambda forks: _Trees(self._trees(forks)), limits)
        trial = VerifierTrial({}, {}, drafted.error, "opened", numbers, 0)
        for trees, weight in drafted.law.items():
            found = self._opened_on(trees.rows, numbers, samples)
            trial.runs += found.evaluations
            trial.error += float(weight) * found.error
            trial.how = "sampled" if found.is_sampled else trial.how
            for result, share in found.law.items():
                trial.law[result] = trial.law.get(result, 0) + weight * share
        return trial

    def _opened_on(self, trees: tuple[LaidOut, ...], numbers: Numbers, samples: int) -> OpenedLaw:
        """Return the law on given drafts, which the verifier turns into tokens with plain numbers."""

        def run(tape: Tape) -> Emitted:
            return self._called(TapeChance(tape), trees, numbers)

        tapes = [Tape(seed=seed) for seed in range(SCOUTS)]
        for tape in tapes:
            run(tape)
        longest = max(tapes, key=lambda tape: len(tape.values))
        fit = all(tape.races == longest.races[: len(tape.races)] for tape in tapes)
        coordinates = Coordinates(len(longest.values), tuple(longest.races) if fit else ())
        return opened(lambda points: [run(Tape(list(point))) for point in points], coordinates, samples)


def _torch_generator() -> Any:
    import torch

    return torch.Generator()


def _as_tensor(value: Any) -> Any:
    from workbench.lossless.torch_draws import as_tensor

    return as_tensor(value)


class _Trees:
    """Trees of a batch, equal when they have the same tokens in the same places."""

    def __init__(self, rows: tuple[LaidOut, ...]) -> None:
        self.rows = rows
        self._key = tuple((tuple(tree.tokens), tuple(tree.parents)) for tree in rows)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Trees) and self._key == other._key
