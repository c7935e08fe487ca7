"""Alarms over a whole run: acceptance that is too round, falls off a cliff or drifts, drafts that are alike.

All are warnings: a legal run can raise them. They are the only rules that see a drafter which is wrong while
the output is right.
"""

from __future__ import annotations

from typing import Final

from invariants.rule import NotApplicableError, Violation, Violations, invariant
from invariants.statistics import RunStatistics, Sample, fall, fall_within, joined_samples
from invariants.thresholds import Thresholds

COLLAPSES: Final = ("STAT009", "STAT010", "STAT011", "STAT012")
"""Rules that say more exactly where acceptance is gone than a fall between two ends does."""


def _enough(found: int, needed: int, what: str) -> None:
    """Stop the rule when there is too little to look at."""
    if found < needed:
        raise NotApplicableError(f"{found} {what}, at least {needed} are needed")


def _fall(early: Sample, late: Sample, thresholds: Thresholds, wheres: tuple[str, str]) -> Violations:
    """Yield a mean accepted length that falls too far, and by more than chance."""
    share, deviations = fall(early, late)
    if share > thresholds.max_fall and deviations > thresholds.min_deviations:
        message = f"mean accepted falls from {early.mean:.2f} {wheres[0]} to {late.mean:.2f} {wheres[1]}"
        yield Violation(message, "accepted_nodes", found=round(late.mean, 4), expected=round(early.mean, 4))


@invariant("STAT001", stage="accept", severity="warning")
def acceptance_exactly_zero(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """No draft was accepted in the whole run.

    ## What it does
    Speaks when at least `min_steps` uncut steps that had a draft accepted nothing at all.

    ## Why it matters
    Even a poor drafter hits now and then. Exactly zero is a map, a weight or an index that is wrong, not a
    drafter that is weak; the output is right and slow.

    ## Example
    200 steps, 0 accepted nodes.

    ## Seen in
    sgl-project/sglang#10616 (mocked draft state), lightseekorg/tokenspeed pull request 526 (hard-coded
    feature layers), vllm-project/vllm-ascend#9290.

    ## Limits
    A drafter of another model, or a very hard text, can legitimately do this.
    """
    _enough(statistics.num_steps, thresholds.min_steps, "uncut steps")
    _enough(statistics.could_pass[1], thresholds.min_steps, "uncut steps with a draft")
    if statistics.num_accepted == 0:
        message = f"nothing was accepted in {statistics.num_steps} steps"
        yield Violation(message, "accepted_nodes", found=0)


@invariant("STAT002", stage="accept", severity="warning")
def acceptance_exactly_one(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """Every step accepted exactly one draft, although deeper ones were there.

    ## What it does
    Speaks when all of at least `min_steps` uncut steps accepted one node and that many had a child below it.

    ## Why it matters
    The first level is drafted from teacher features and works; everything that the drafter makes of its own
    output is wrong: its cache, its positions, or the feature that it hands to itself.

    ## Example
    200 steps with trees of depth 8, A is 1 in each.

    ## Seen in
    vllm-project/vllm-ascend#7549 (tables of later draft steps rewritten too early), vllm-project/vllm#33330
    (second token collapses), vllm-project/vllm-ascend#3300.

    ## Limits
    None beyond being a warning.
    """
    _enough(statistics.could_pass[2], thresholds.min_steps, "steps that came to a second level")
    if set(statistics.accepted) == {1}:
        message = f"exactly one draft was accepted in each of {statistics.num_steps} steps"
        yield Violation(message, "accepted_nodes", found=1)


@invariant("STAT003", stage="accept", severity="warning")
def acceptance_exactly_full(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """Every step accepted a path to the deepest level of its tree.

    ## What it does
    Speaks when all of at least `min_steps` uncut steps accepted as many nodes as their tree is deep.

    ## Why it matters
    Nothing was ever rejected, so nothing was verified: the choice is copied from the draft, the random number
    is constant, or the state runs along with the drafts. The text may be wrong.

    ## Example
    200 steps with trees of depth 4, A is 4 in each.

    ## Seen in
    vllm-project/vllm-ascend#13470 (random number constantly 0, everything accepted), sgl-project/sglang#40419
    (accept length climbs to the maximum while the text repeats).

    ## Limits
    A teacher that drafts for itself, or a text that repeats itself, does this legitimately.
    """
    _enough(statistics.num_steps, thresholds.min_steps, "uncut steps")
    if statistics.num_full == statistics.num_steps:
        message = f"all {statistics.num_steps} steps accepted a path to the deepest level of their tree"
        yield Violation(message, "accepted_nodes", found=statistics.num_full)


@invariant("STAT004", stage="accept", severity="warning", requires=("STAT001", "STAT002"))
def acceptance_cliff(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """Acceptance is fair down to one depth and exactly zero at the next.

    ## What it does
    For each depth that at least `min_steps` paths could have passed: none passed it, although at least
    `min_rate_before_cliff` of the paths passed the depth above.

    ## Why it matters
    Acceptance falls gently with depth. A cliff is a buffer that holds so many steps and no more, a position
    that stops, or a cache that is one row short from there on.

    ## Example
    Depth 3 is passed by 60 of 100 paths, depth 4 by 0 of 60.

    ## Seen in
    vllm-project/vllm-ascend#7549 (third position hit), #9290 and #9278 (zero beyond a number of drafts),
    #10878.

    ## Limits
    Rates are of paths that had a child to go on to; depths that few paths reach are passed over.
    """
    deepest = max(statistics.could_pass, default=0)
    _enough(statistics.could_pass[2], thresholds.min_steps, "paths that came to a second level")
    for depth in range(2, deepest + 1):
        above = statistics.passed[depth - 1] / max(statistics.could_pass[depth - 1], 1)
        tried = statistics.could_pass[depth]
        if (
            tried >= thresholds.min_steps
            and not statistics.passed[depth]
            and above >= thresholds.min_rate_before_cliff
        ):
            message = f"depth {depth} was passed by none of {tried} paths, depth {depth - 1} by {above:.0%}"
            yield Violation(message, "accepted_nodes", found=0, expected=f"{above:.2f}")
            return


@invariant("STAT005", stage="accept", severity="warning", requires=("STAT001", *COLLAPSES))
def acceptance_falls_with_length(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """Acceptance after long prefixes is far below that after short ones.

    ## What it does
    Compares mean A of the shortest and the longest prefixes (binary orders of L with at least `min_steps`
    steps): a loss of more than `max_fall` by more than `min_deviations` standard errors.

    ## Why it matters
    Something ends at a length: a rotary table, scaling that was dropped, a window, a mask that is ignored
    past a number of keys.

    ## Example
    Mean A is 3.1 below 512 tokens and 0.9 above 2048.

    ## Seen in
    vllm-project/speculators#574 (rope scaling dropped by a converter), sgl-project/sglang#6783 (slower beyond
    2k), vllm-project/vllm-ascend#15503 (wrong from 513 keys).

    ## Limits
    Texts that get harder towards the end do this legitimately, and so does a narrow drafter window.
    """
    orders = [
        order for order, each in sorted(statistics.by_length.items()) if each.count >= thresholds.min_steps
    ]
    _enough(len(orders), 2, f"orders of length with {thresholds.min_steps} steps")
    short, long = statistics.by_length[orders[0]], statistics.by_length[orders[-1]]
    wheres = (f"below length {2 ** orders[0]}", f"from length {2 ** (orders[-1] - 1)}")
    yield from _fall(short, long, thresholds, wheres)


@invariant("STAT006", stage="accept", severity="warning", requires=("STAT001", "STAT005", *COLLAPSES))
def acceptance_falls_with_time(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """Acceptance late in the run is far below that at its beginning.

    ## What it does
    Compares mean A of the first and the last quarter of the run's steps, by the same limits as STAT005. Waits
    for STAT005 and STAT009 to STAT012, so that a fall which they explain is reported once. Where several
    requests run at once, those that accept little run longest and are what is left at the end: each request
    of a batch is compared with itself, and what is in one of the quarters alone is not.

    ## Why it matters
    State is left behind: blocks that are published before they are written, buffers that age, counters that
    creep.

    ## Example
    Mean A is 3.0 in the first quarter and 1.2 in the last, at like lengths.

    ## Seen in
    vllm-project/vllm#41838 (accept length decays over hours), sgl-project/sglang#37553 (stale content
    creeps).

    ## Limits
    Prompts in order of difficulty do this legitimately.
    """
    quarter = len(statistics.by_time) // 4
    if len(statistics.bands.batch_row.counts) > 1:
        yield from _fall_of_requests(statistics, thresholds, quarter)
        return
    early, late = Sample(), Sample()
    for block in statistics.by_time[:quarter]:
        early.add(block)
    for block in statistics.by_time[len(statistics.by_time) - quarter :]:
        late.add(block)
    _enough(min(early.count, late.count), thresholds.min_steps, "steps in a quarter of the run")
    yield from _fall(early, late, thresholds, ("in the first quarter", "in the last"))


def _fall_of_requests(statistics: RunStatistics, thresholds: Thresholds, quarter: int) -> Violations:
    """Yield a fall of the requests of a batch that are in both quarters of a run."""
    blocks = statistics.requests_by_time
    early, late = joined_samples(blocks[:quarter]), joined_samples(blocks[len(blocks) - quarter :])
    before, after, share, deviations = fall_within(early, late)
    _enough(min(before.count, after.count), thresholds.min_steps, "steps in a quarter of requests in both")
    if share > thresholds.max_fall and deviations > thresholds.min_deviations:
        message = (
            f"mean accepted of the requests in both falls from {before.mean:.2f} in the first quarter to "
            f"{after.mean:.2f} in the last"
        )
        yield Violation(message, "accepted_nodes", found=round(after.mean, 4), expected=round(before.mean, 4))


@invariant("STAT007", stage="accept", severity="warning")
def branch_never_wins(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """Wherever the accepted node had siblings, it was the first of them.

    ## What it does
    Counts accepted nodes that had siblings; speaks when at least 8 times `min_steps` of them never were a
    second or later sibling.

    ## Why it matters
    The first branch is right under a causal mask and with chain positions, too. If no other branch ever wins,
    the tree is verified as if it were a chain, and its other nodes are wasted.

    ## Example
    500 accepted nodes with siblings, all of them first.

    ## Seen in
    NVIDIA/TensorRT-LLM#10343 (a branch shortens acceptance), sgl-project/sglang#20278 (tree mask dropped).

    ## Limits
    A drafter whose best candidate is nearly always right does this legitimately.
    """
    _enough(statistics.num_contested, 8 * thresholds.min_steps, "accepted nodes with siblings")
    if statistics.num_branch_wins == 0:
        message = f"in {statistics.num_contested} choices among siblings the first one won every time"
        yield Violation(message, "accepted_nodes", found=0)


@invariant("STAT008", stage="draft", severity="warning")
def drafts_all_alike(statistics: RunStatistics, thresholds: Thresholds) -> Violations:
    """In most steps all drafted tokens are the same.

    ## What it does
    Counts steps with at least three drafts on at least two levels whose draft tokens are all one token;
    speaks when their share is above `max_identical_share`.

    ## Why it matters
    The drafter's head was given one row for all steps, so every level repeats the first. The output is right,
    acceptance is next to nothing.

    ## Example
    Drafts `7, 7, 7, 7` in 90 of 100 steps.

    ## Seen in
    vllm-project/vllm-ascend#12262 (all N drafts identical, acceptance 1.18 %).

    ## Limits
    A text of one repeated token does this legitimately.
    """
    _enough(statistics.num_drafted, thresholds.min_steps, "steps with three drafts on two levels")
    share = statistics.num_identical / statistics.num_drafted
    if share > thresholds.max_identical_share:
        message = f"all drafts are the same token in {share:.0%} of {statistics.num_drafted} steps"
        yield Violation(message, "token_ids", found=round(share, 4), expected=thresholds.max_identical_share)
