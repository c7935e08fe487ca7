"""Drafts equal to those of the step before are a fault only where there are enough of them, pads left out."""

from __future__ import annotations

import pytest

from invariants.examples import CONTEXT, Before, Tree, legal_step, next_before
from invariants.outcome import NotChecked, Outcome, Violated
from invariants.run import check_step


def drafted_again(num_drafts: int, num_pads: int) -> Outcome:
    """Two steps with the same drafts and scores under two roots."""
    drafts, parents = list(range(20, 20 + num_drafts)), [0, *range(num_drafts)]
    first = legal_step(Tree(parents, [8, *drafts], [9, *[60] * num_drafts], num_pads), Before())
    then = legal_step(
        Tree(parents, [9, *drafts], [61] * (num_drafts + 1), num_pads), next_before(first, Before())
    )
    then["draft_logprobs"] = first["draft_logprobs"]
    said = check_step(then, previous=first, first=first, context=CONTEXT)
    return next(each for each in said if each.rule == "DRAFT005")


@pytest.mark.parametrize("num_pads", [0, 3])
def test_four_equal_drafts_are_found_whether_there_are_pads_or_not(num_pads: int) -> None:
    assert isinstance(drafted_again(4, num_pads), Violated)


@pytest.mark.parametrize(("num_drafts", "num_pads"), [(1, 3), (3, 1), (3, 8)])
def test_pads_do_not_count_as_drafts(num_drafts: int, num_pads: int) -> None:
    """Catches one draft and three pads that come out as in the step before, by chance."""
    assert isinstance(drafted_again(num_drafts, num_pads), NotChecked)
