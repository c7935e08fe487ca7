"""The search: what the finding is, then axis by axis until none gets smaller."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tracing.errors import UsageError
from tracing.models import ModelPair
from workbench.reduce import axes, model_axes
from workbench.reduce.axes import Axis, Room
from workbench.reduce.case import RunCase
from workbench.reduce.evaluate import Evaluator, Runner, TimeIsUpError
from workbench.reduce.kept import Outcomes
from workbench.reduce.outcome import CaseOutcome, CaseTrial, Same

AXES: Final[Mapping[str, Axis]] = {
    "start": axes.later_start,
    "all at once": model_axes.leap,
    "repetition": axes.unrepeated,
    "layers": model_axes.fewer_layers,
    "steps": axes.fewer_steps,
    "weights": model_axes.other_weights,
    "vocabulary": model_axes.fewer_words,
    "tokens": axes.fewer_tokens,
    "tree": axes.smaller_tree,
    "width": model_axes.narrower,
    "heads": model_axes.fewer_heads,
    "options": axes.plainer_options,
}
"""In the order in which they are tried: what makes runs cheap comes first."""
ONLY_FIRST: Final = frozenset({"all at once"})
MOST_PASSES: Final = 4
CONFIRMING: Final = 8
"""Further runs of a finding that did not come a second time."""
MISSED: Final = 0.05
"""Share of cases with a finding that comes and goes which may be missed."""
MOST_TRIALS: Final = 20


@dataclass(frozen=True, slots=True)
class Observed:
    """What should stay.

    Attributes:
        target: The finding.
        rate: Share of runs that showed it.
        most_trials: Runs of a case until it counts as gone.
        control: What our own path shows on the same case; then it is no measure for others. Or empty.
        outcome: Of the run that showed it.
    """

    target: Same
    rate: float
    most_trials: int
    control: str
    outcome: CaseOutcome


def observe(runner: Runner, outcomes: Outcomes, case: RunCase, tries: int) -> Observed:
    """Run the whole case, and again: what does it find, and each time?

    Args:
        runner: Runs it.
        outcomes: Known ones; these runs are kept there.
        case: The whole case.
        tries: Runs until it finds something.

    Raises:
        UsageError: It finds nothing, or cannot be run.
    """
    first, count = CaseOutcome(), 0
    while first.same is None and count < tries:
        first = _run(runner, outcomes, f"{case.key}-first-{count}", CaseTrial(case))
        count += 1
        if first.problem:
            raise UsageError(f"the run cannot be made: {first.problem}")
    if first.same is None:
        raise UsageError(
            f"nothing to reduce: {count} run{'s' if count > 1 else ''} found nothing; give the prompt and "
            "options of a run with a finding"
        )
    again = _run(runner, outcomes, case.key, CaseTrial(case, first.same))
    hits, runs = 1 + (again.same == first.same), count + 1
    for number in range(CONFIRMING if hits < runs else 0):
        more = _run(runner, outcomes, f"{case.key}-more-{number}", CaseTrial(case, first.same, control=False))
        hits, runs = hits + (more.same == first.same), runs + 1
    rate = hits / runs
    trials = 1 if rate == 1 else min(math.ceil(math.log(MISSED) / math.log1p(-rate)), MOST_TRIALS)
    return Observed(first.same, rate, trials, again.control, first)


def _run(runner: Runner, outcomes: Outcomes, key: str, trial: CaseTrial) -> CaseOutcome:
    known = outcomes.get(key)
    if known is not None:
        return known
    runner.submit(key, trial)
    ended: Sequence[tuple[str, CaseOutcome]] = ()
    while not ended:
        ended = runner.wait(None)
    outcomes.add(key, ended[0][1])
    return ended[0][1]


@dataclass(slots=True)
class Reduction:
    """What a search came to.

    Attributes:
        before, after: The case as it was given, and the smallest one found.
        told: Axis and case of each step on the way.
        whole: False where the time was up.
    """

    before: RunCase
    after: RunCase
    told: list[tuple[str, RunCase]] = field(default_factory=list)
    whole: bool = True


def reduced(
    case: RunCase,
    evaluator: Evaluator,
    pair: ModelPair,
    *,
    can_be_eager: bool,
    tell: Callable[[str, RunCase], object] = lambda _axis, _case: None,
) -> Reduction:
    """Make a case smaller while it keeps its finding.

    Args:
        case: The whole case, whose outcome the evaluator knows.
        evaluator: Runs cases.
        pair: The whole pair.
        can_be_eager: Whether operators of the path can.
        tell: Called with each smaller case.
    """
    reduction = Reduction(case, case)

    def ask(cases: Sequence[RunCase]) -> int | None:
        found = evaluator.first(cases)
        if found is not None:
            reduction.after = cases[found]
            reduction.told.append((name, cases[found]))
            tell(name, cases[found])
        return found

    room = Room(pair, ask, lambda one: evaluator.outcomes.get(one.key), can_be_eager)
    try:
        for number in range(MOST_PASSES):
            before = reduction.after
            for name, axis in AXES.items():
                if number and name in ONLY_FIRST:
                    continue
                axis(reduction.after, room)
            if reduction.after == before:
                break
    except TimeIsUpError:
        reduction.whole = False
    return reduction
