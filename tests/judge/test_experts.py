"""Chosen experts: near ties are counted, clear gaps found, and what is not given opens what lies behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracing.models import Experts
from tracing.moment import Moment
from workbench.judge.experts import behind_open, judge_experts
from workbench.judge.notes import Notes
from workbench.judge.routing_hints import kept_by_vote
from workbench.judge.row_truth import RoutingTruth, RowTruth

EXPERTS = Experts(num_experts=6, num_groups=2, width=1, shared_width=1)
BEST = np.array([[[0, 4], [2, 3]], [[1, 5], [0, 4]]])
"""Two layers, two rows: one expert of 0..2 and one of 3..5."""


def routing(gap: float = 1.0, **changes: Any) -> RoutingTruth:
    """`BEST` lead by 1; expert 1 lies `gap` behind the first of layer 0, row 0, which is expert 0."""
    truth = np.zeros((2, 2, 6))
    np.put_along_axis(truth, BEST, 1.0, axis=-1)
    truth[0, 0, 1] = 1 - gap
    noise = np.full_like(truth, 1e-6)
    logits = RowTruth(fused=truth + 1e-7, truth=truth, samples=(truth + noise,), rows=np.array([0, 2]))
    given: dict[str, Any] = {"experts": EXPERTS, "logits": logits, "expert_ids": BEST}
    return RoutingTruth(**given | changes)


def judged(given: RoutingTruth) -> tuple[Notes, int | None]:
    notes = Notes(Moment(0, 0, 0), "verify")
    return notes, judge_experts(notes, given, None, named=True)


def flipped() -> Any:
    ids = BEST.copy()
    ids[0, 0, 0] = 1
    return ids


@pytest.mark.parametrize("ids", [BEST, BEST[..., ::-1]], ids=["ascending", "descending"])
def test_the_best_of_each_group_in_any_order_is_right(ids: Any) -> None:
    notes, is_open = judged(routing(expert_ids=ids))
    assert not notes.findings
    assert not notes.near_ties
    assert is_open is None
    assert set(notes.checked) == {"verify.router_logits", "verify.expert_ids"}


def test_another_expert_in_a_near_tie_is_counted() -> None:
    notes, is_open = judged(routing(gap=4e-6, expert_ids=flipped()))
    assert not notes.findings
    assert is_open is None
    (tie,) = notes.near_ties
    assert (tie.kind, tie.fused, tie.reference, tie.emitted) == ("expert", 1, 0, False)
    assert 0 < tie.gap <= tie.allowance


def test_another_expert_with_a_clear_gap_is_found() -> None:
    notes, _ = judged(routing(gap=1e-3, expert_ids=flipped()))
    (finding,) = notes.findings
    assert (finding.rule, finding.fused, finding.reference, finding.moment.node) == ("JUDGE-EXPERTS", 1, 0, 0)
    assert not notes.near_ties


@pytest.mark.parametrize("wrong", [[0, 1], [0, 0], [0, 6], [-1, 4]], ids=str)
def test_experts_that_are_not_one_per_group_are_found(wrong: list[int]) -> None:
    ids = BEST.copy()
    ids[1, 1] = wrong
    notes, _ = judged(routing(expert_ids=ids))
    (finding,) = notes.findings
    assert finding.rule == "JUDGE-EXPERTS"
    assert finding.moment.node == 2
    assert "one of each of 2 groups" in finding.message


def test_of_equal_own_logits_the_first_has_to_work() -> None:
    notes, _ = judged(routing(gap=0.0, expert_ids=flipped()))
    (finding,) = notes.findings
    assert "of equal ones the first" in finding.message
    assert not notes.near_ties


@pytest.mark.parametrize(("ranks", "word"), [(2, "group")])
def test_local_numbers_are_named(ranks: int, word: str) -> None:
    notes, _ = judged(routing(expert_ids=BEST % (6 // ranks)))
    assert notes.findings
    assert all(f"numbered within their {word}" in finding.message for finding in notes.findings)


def test_a_vote_of_the_batch_is_named() -> None:
    scores = np.array([[3.0, 2, 1], [3, 1, 2], [1, 3, 2], [2, 1, 3], [3, 2, 1]])
    kept = np.array([[0], [0], [2], [2], [0]])  # expert 1 is nobody's, though row 2 has it first
    assert "vote of the batch" in kept_by_vote(scores, kept, Experts(3, 1, 1, 1))
    lawful = np.array([[0], [0], [1], [2], [0]])
    assert not kept_by_vote(scores, lawful, Experts(3, 1, 1, 1))
    one_wrong = np.array([[0], [2], [1], [2], [0]])
    assert not kept_by_vote(scores, one_wrong, Experts(3, 1, 1, 1))


def test_a_wrong_router_is_found_and_what_it_chose_follows() -> None:
    right = routing(gap=4e-6, expert_ids=flipped())
    assert right.logits.fused is not None
    off = right.logits.fused.copy()
    off[0, 0, 1] += 0.5
    given = RowTruth(
        fused=off, truth=right.logits.truth, samples=right.logits.samples, rows=right.logits.rows
    )
    notes, _ = judged(routing(gap=4e-6, expert_ids=flipped(), logits=given))
    assert [finding.rule for finding in notes.findings] == ["JUDGE-ROUTER"]
    assert not notes.near_ties


def test_experts_that_are_not_given_open_what_lies_behind_a_near_tie() -> None:
    _, sure = judged(routing(gap=1e-3, expert_ids=None))
    assert sure is None
    notes, is_open = judged(routing(gap=4e-6, expert_ids=None))
    assert is_open == 0
    values = np.zeros((2, 2, 1, 2, 4))
    kv, why = behind_open(notes, is_open, RowTruth(fused=values, truth=values, samples=(values,)))
    assert kv is not None
    assert kv.fused is not None
    assert len(kv.fused) == 1
    assert "layer 0" in why
    assert ("kv", why) in [(each.quantity, each.reason) for each in notes.not_checked]


def test_committed_rows_without_experts_open_too() -> None:
    tied = routing(gap=4e-6).logits
    _, is_open = judged(routing(others=tied))
    assert is_open == 0


def test_what_wrong_rows_choose_follows_from_them() -> None:
    values = np.zeros((2, 2, 1, 2, 4))
    off = values.copy()
    off[1, 0, 0, 1] = 1.0
    kv = RowTruth(fused=off, truth=values, samples=(values + 1e-7,), rows=np.array([0, 2]))
    ids = BEST.copy()
    ids[1, 1] = [1, 4]
    notes = Notes(Moment(0, 0, 0), "verify")
    judge_experts(notes, routing(expert_ids=ids), kv, named=True)
    assert not notes.findings
    assert any("follow from rows that are wrong" in each.reason for each in notes.not_checked)
    ids[0, 0, 0] = 2
    judge_experts(notes, routing(expert_ids=ids), kv, named=True)
    assert [finding.rule for finding in notes.findings] == ["JUDGE-EXPERTS"]
