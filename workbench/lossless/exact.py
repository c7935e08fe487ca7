"""The exact law of a rule on a problem."""

from __future__ import annotations

from workbench.lossless.compare import Comparisons
from workbench.lossless.drafting import DraftedTree
from workbench.lossless.forks import Budget, Enumeration, Forks, enumerate_runs
from workbench.lossless.problem import Problem
from workbench.lossless.rules import RuleFunction
from workbench.lossless.sources import ForkingChance, ForkingGenerator


def law_of_rule(function: RuleFunction, problem: Problem, budget: Budget | None = None) -> Enumeration:
    """Return the law of what a rule emits on a problem; fractions where the rule computes in fractions."""
    comparisons: Comparisons | None = None

    def run(forks: Forks) -> tuple[int, ...]:
        nonlocal comparisons
        comparisons = comparisons or Comparisons(forks)
        comparisons.restart()
        chance = ForkingGenerator(ForkingChance(forks, comparisons.fresh))
        return tuple(int(token) for token in function(DraftedTree(problem, forks), chance))

    return enumerate_runs(run, budget or Budget())
