"""Alarms over parts of a run: acceptance that collapses for a request or in a band, or breaks its promise.

The mean of a run hides them. All are warnings, as those of `alarms` are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from invariants.bands import NUM_DEPTHS
from invariants.collapse import Collapse, explained, surprise
from invariants.rule import NotApplicableError, Violation, Violations, invariant
from invariants.statistics import RunStatistics
from invariants.thresholds import Thresholds

MAX_NAMED: Final = 8
"""Requests or rows named one by one; the last one counts the rest."""
AXES: Final = {
    "prompt": "prompt {}",
    "batch_row": "row {} of the batch",
    "length": "committed lengths {}",
    "in_block": "committed lengths that are {} modulo 128",
    "in_small_block": "committed lengths that are {} modulo 16",
    "step": "steps {} of a turn",
    "time": "steps {} of the run, in the order of the trace",
}
"""Name of an axis in a message."""


def _told(collapse: Collapse) -> str:
    span = str(collapse.low) if collapse.low == collapse.high else f"{collapse.low} to {collapse.high}"
    where = f"depths from {collapse.depth} on" if collapse.depth == NUM_DEPTHS else f"depth {collapse.depth}"
    took = f"{collapse.passed} of {collapse.tried} times"
    return f"at {AXES[collapse.axis].format(span)}, {where} is accepted {took}, elsewhere {collapse.rest:.0%}"


def _collapses(
    statistics: RunStatistics, thresholds: Thresholds, axes: tuple[str, ...]
) -> Iterator[Collapse]:
    """Yield what collapsed, where one of these axes explains it best."""
    if statistics.num_steps < 2 * thresholds.min_steps:
        found, needed = statistics.num_steps, 2 * thresholds.min_steps
        raise NotApplicableError(f"{found} uncut steps, at least {needed} are needed")
    for axis in axes:
        if len(getattr(statistics.bands, axis).counts) > 1:
            break
    else:
        raise NotApplicableError(f"the run has nothing to compare along {' or '.join(axes)}")
    yield from (each for each in explained(statistics.bands, thresholds) if each.axis in axes)


def _violations(collapses: Iterator[Collapse]) -> Violations:
    every = tuple(collapses)
    for number, collapse in enumerate(every[:MAX_NAMED], start=1):
        more = len(every) - MAX_NAMED if number == MAX_NAMED else 0
        message = _told(collapse) + (f"; and {more} more" if more > 0 else "")
        share = round(collapse.passed / collapse.tried, 4)
        rest = round(collapse.rest, 4)
        yield Violation(message, "accepted_nodes", found=share, expected=rest, place=collapse.first)


@invariant("STAT009", stage="accept", severity="warning", requires=("STAT001",))
def acceptance_collapses_for_a_request(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """One request, or several, accept next to nothing while the others are fine.

    ## What it does
    Splits the prompts of a run into those that accept little and the rest; speaks for each that accepts less
    than `max_share_of_rest` of what the rest does, at the first depth, the second, or below, where chance
    does that less often than `error_rate`. Says nothing where a row of the batch, a length, a step or a time
    explains it better.

    ## Why it matters
    The mean hides it: five requests of six at full speed look well. A request of its own is a row of the
    batch, a slot table or a cache that belongs to it.

    ## Example
    Prompt 1 accepts 0 of 60 drafts, the other five 80 %.

    ## Seen in
    ROCm/ATOM#1593 (the second request of a batch is always rejected), sgl-project/sglang#39287.

    ## Limits
    A prompt in a language or of a kind that the drafter has never seen can do this legitimately.
    """
    yield from _violations(_collapses(statistics, thresholds, ("prompt",)))


@invariant("STAT010", stage="accept", severity="warning", requires=("STAT001",))
def acceptance_collapses_for_a_batch_row(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """One row of the batch accepts next to nothing, whichever request is in it.

    ## What it does
    As STAT009, over the rows of a batch, where they are recorded (`batch_row`).

    ## Why it matters
    An offset into a packed batch, or a buffer for one request, is wrong for the others.

    ## Example
    Row 1 accepts 0 of 200 drafts, row 0 accepts 75 %.

    ## Seen in
    ROCm/ATOM#1593 (the second request of a batch is always rejected).

    ## Limits
    Needs `batch_row`.
    """
    yield from _violations(_collapses(statistics, thresholds, ("batch_row",)))


@invariant("STAT011", stage="accept", severity="warning", requires=("STAT001",))
def acceptance_collapses_in_a_band_of_lengths(
    statistics: RunStatistics, thresholds: Thresholds
) -> Violations:
    """In one band of committed lengths next to nothing is accepted, outside it acceptance is fine.

    ## What it does
    As STAT009, over every band of committed lengths, and of their place in a cache block (modulo 16 and 128).

    ## Why it matters
    A band is a tile, a block border, a bucket of a captured graph or the row of a table that is wrong; after
    it everything looks well again, so no comparison of begin and end sees it.

    ## Example
    From length 512 to 639 drafts are accepted 2 of 150 times, elsewhere 70 %.

    ## Seen in
    vllm-project/vllm-ascend#15503 (wrong from 513 keys), vllm-project/vllm-ascend#9278.

    ## Limits
    A long stretch of text that is hard to guess can do this, where all of it lies in one band.
    """
    axes = ("length", "in_block", "in_small_block")
    yield from _violations(_collapses(statistics, thresholds, axes))


@invariant("STAT012", stage="accept", severity="warning", requires=("STAT001",))
def acceptance_collapses_in_a_band_of_steps(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """In one band of steps next to nothing is accepted, outside it acceptance is fine.

    ## What it does
    As STAT009, over every band of step numbers of a turn, and of steps in the order of the run: from a step
    on, up to one, or in between.

    ## Why it matters
    State that fills up, a counter, a buffer that is used again too early; with time it may come back.

    ## Example
    From step 40 of a turn on drafts are accepted 0 of 90 times, before that 80 %.

    ## Seen in
    vllm-project/vllm#41838 (accept length decays), vllm-project/vllm-ascend#9290.

    ## Limits
    A long stretch of text that is hard to guess can do this.
    """
    yield from _violations(_collapses(statistics, thresholds, ("step", "time")))


@invariant("STAT013", stage="accept", severity="warning", requires=("STAT001", "STAT002", "STAT004"))
def acceptance_below_promise(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """Far fewer drafts are accepted than the drafter's own log-probabilities promise.

    ## What it does
    Adds up, over the nodes of accepted paths, the probability that the drafter gives to their children, and
    compares it with how often one of them was accepted. Speaks below `max_share_of_promise`, where chance
    does that less often than `error_rate`.

    ## Why it matters
    A drafter that is sure of what the teacher never says drafts for another text: the map of token ids, the
    features or the weights are another model's, or verify judges other rows than were drafted.

    ## Example
    The drafter promises 82 % of 300 tries and keeps 9 %.

    ## Seen in
    vllm-project/vllm-ascend#12262 (acceptance 1.18 %), sgl-project/sglang#10616 (mocked draft state).

    ## Limits
    Drafters are too sure of themselves by some tens of per cent, more so on foreign text; a third is far
    from that. Proposers that record no log-probabilities, or zeros, promise nothing.
    """
    tried, kept = statistics.num_promises, statistics.num_kept
    if tried < thresholds.min_steps:
        raise NotApplicableError(
            f"{tried} drafts with a probability, at least {thresholds.min_steps} are needed"
        )
    promise, share = statistics.promised / 1e6 / tried, kept / tried
    counts = np.array([tried, kept, thresholds.max_share_of_promise * promise], dtype=np.float64)
    if surprise(*counts[:, None]).item() > -math.log(thresholds.error_rate):
        message = (
            f"the drafter promises {promise:.0%} of {tried} drafts along accepted paths, {share:.0%} are"
        )
        yield Violation(message, "draft_logprobs", found=round(share, 4), expected=round(promise, 4))
