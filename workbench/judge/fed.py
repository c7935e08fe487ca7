"""Rules that do not apply to a path that is fed another path's values, as the reference is when staged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from invariants.catalogue import CATALOGUE
from tracing.finding import Finding
from tracing.reader import Run

FED: Final = "its values were fed by the other path (staged lockstep)"
COMPUTED: Final = ("draft_logprobs", "target_token_ids", "target_top_ids", "target_top_logits")
"""Columns that a fed path computes, from what it was fed and its own weights."""
EITHER: Final = "it was computed from what the other path fed, so either may be at fault"
SEARCHED: Final[Mapping[str, str]] = {
    "DRAFT006": "its scores are its own and did not rank the candidates of the search that it was fed"
}
LIVE: Final[Mapping[str, str]] = {
    **SEARCHED,
    "ROW003": "a path that is fed values leaves out acceptance where a near tie makes it another's",
}
"""Rules left out of a live run, by id, and why; the run itself skips steps that were fed wrong values."""


def pair_of(run: Run) -> tuple[str, str] | None:
    """Return the path under test and the path that it feeds when staged, None where they cannot be told.

    `fused` and `reference` where both are there; else of two paths the one that is not named `reference`, and
    without that name the first, is under test.
    """
    names = run.path_names
    if {"fused", "reference"} <= set(names):
        return "fused", "reference"
    if len(names) != 2:
        return None
    first, second = names
    return (second, first) if first == "reference" or second == "fused" else (first, second)


def is_fed(run: Run, path_name: str) -> bool:
    """Whether a path's steps were given to it by the path under test, so that it owns no state."""
    if run.manifest.get("lockstep") != "staged":
        return False
    pair = pair_of(run)
    return path_name == ("reference" if pair is None else pair[1])


def blamed(found: Iterable[Finding], own: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings of a fed path with those to blame whom the evidence names.

    After an error of the path under test in the same turn a finding is its possible consequence. A value that
    a fed path computes (scores, logits, choices) may be wrong because of what it was fed, e.g. tokens of a
    lost draft map: one row cannot tell whose fault it is. One that follows exactly from what was fed is its
    own.

    Args:
        found: On the path that was fed.
        own: On the path under test.
    """
    first: dict[tuple[int, int], tuple[int, Finding]] = {}
    for each in own:
        prompt_id, turn, step = each.moment.place
        known = first.get((prompt_id, turn))
        if each.severity == "error" and (known is None or step < known[0]):
            first[prompt_id, turn] = step, each
    return tuple(_blamed(each, first.get(each.moment.place[:2])) for each in found)


def _blamed(finding: Finding, cause: tuple[int, Finding] | None) -> Finding:
    if cause is not None and cause[0] <= finding.moment.place[2]:
        return replace(finding, guilty=cause[1].guilty, consequence=True)
    if finding.column in COMPUTED:
        return replace(finding, guilty="unknown", message=f"{finding.message}; {EITHER}")
    return finding


def recorded() -> Mapping[str, str]:
    """Return the rules that are left out of a recorded run, by id, and why.

    Those that need several steps, and those over its own choices together with an acceptance that followed
    the other path's choices (which legally differ in a near tie).
    """
    own = {
        rule.id: FED
        for rule in CATALOGUE
        if rule.scope == "run"
        or any(name.startswith(("previous_", "first_")) for name in rule.inputs)
        or (rule.stage in {"accept", "commit"} and "target_token_ids" in rule.arguments)
    }
    return own | dict(SEARCHED)
