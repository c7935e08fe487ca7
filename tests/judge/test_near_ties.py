"""A near tie is proven or it is none: of choices, of candidates, of beams, of nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judge.support import (
    SETTINGS,
    TARGET_FROM_DRAFT,
    assemble,
    changed,
    judged,
    rules_of,
    sound_step,
)
from tracing.moment import Moment
from tracing.stages import DraftLevel
from workbench.judge.evidence import (
    DraftEvidence,
    LevelTruth,
    PrefillEvidence,
    StepEvidence,
    VerifyEvidence,
    VerifySide,
)
from workbench.judge.notes import StageJudgement
from workbench.judge.row_truth import RowTruth
from workbench.judge.step import judge_step

BUDGET = 12 * 0.5 + 4 * 2.0**-20
"""Allowance of a row of magnitude 8 whose only sample is off by a half everywhere (pooled over itself)."""


def two_tokens(gap: float, shift: float, choice: int) -> VerifyEvidence:
    """One node; token 1 truly leads token 0 by `gap`; the fused row moves each by `shift` to the other."""
    truth = np.array([[8.0 - gap, 8.0, -8.0, -8.0]])
    sample = truth + np.array([[-0.5, -0.5, 0.5, 0.5]])
    fused = truth + np.array([[shift, -shift, 0, 0]])
    return VerifyEvidence(
        committed_len=1,
        valid=np.array([True]),
        fused=VerifySide(target_token_ids=np.array([choice])),
        logits=RowTruth(fused=fused, truth=truth, samples=(sample,)),
    )


def verified(evidence: VerifyEvidence) -> StageJudgement:
    return judged(evidence)


def test_a_gap_of_exactly_twice_the_allowance_is_a_near_tie() -> None:
    judgement = verified(two_tokens(2 * BUDGET, BUDGET, choice=0))
    assert judgement.findings == ()
    (near_tie,) = judgement.near_ties
    assert (near_tie.kind, near_tie.fused, near_tie.reference) == ("choice", 0, 1)
    assert near_tie.gap == near_tie.allowance == 2 * BUDGET


def test_just_beyond_it_is_none() -> None:
    """To choose otherwise the row must then be off by more than its allowance: numeric, no near tie."""
    judgement = verified(two_tokens(2 * BUDGET + 0.01, BUDGET + 0.006, choice=0))
    assert judgement.near_ties == ()
    assert rules_of(judgement.findings) == {"JUDGE-VERIFY-LOGITS"}


@given(st.floats(0.0, 25.0), st.floats(0.0, 50.0))
def test_a_bigger_bug_is_never_a_nearer_tie(gap: float, shift: float) -> None:
    """However the two logits move, a different choice is either inside the allowance or a finding."""
    evidence = two_tokens(gap, shift, choice=0)
    choice = int(np.argmax(evidence.logits.fused[0]))
    judgement = verified(replace(evidence, fused=VerifySide(target_token_ids=np.array([choice]))))
    if shift > BUDGET * (1 + 1e-9) + 1e-12:
        assert judgement.near_ties == ()
        assert judgement.findings != ()
    elif shift < BUDGET * (1 - 1e-9):
        assert judgement.findings == ()
        truth = evidence.logits.truth[0]
        assert len(judgement.near_ties) == int(choice != int(np.argmax(truth)))


def test_ties_in_the_own_row_go_to_the_lower_id() -> None:
    evidence = two_tokens(0.0, 0.0, choice=1)
    (finding,) = verified(evidence).findings
    assert finding.rule == "JUDGE-VERIFY-ARGMAX"
    assert "tie and 0 is the lower id" in finding.message
    lower = replace(evidence, fused=VerifySide(target_token_ids=np.array([0])))
    assert verified(lower).findings == ()


def test_without_samples_a_different_choice_is_a_finding() -> None:
    evidence = two_tokens(0.5, 1.0, choice=0)
    bare = replace(evidence, logits=replace(evidence.logits, samples=()))
    reference = VerifySide(target_token_ids=np.array([1]))
    (finding,) = verified(replace(bare, reference=reference)).findings
    assert finding.rule == "JUDGE-VERIFY-CHOICE"


def test_only_choices_on_the_path_change_what_is_emitted() -> None:
    step = sound_step()
    first = int(step.accept.fused.accepted_nodes[0])
    last = len(step.draft.fused.parents) - 1
    for node, emitted in ((first, True), (last, False)):
        close = _tie_at(step, node)
        judgement = judge_step(close)
        assert judgement.findings == ()
        assert [near_tie.emitted for near_tie in judgement.near_ties] == [emitted]
        assert judgement.coverage["choice_near_ties"] == 1


def _tie_at(step: StepEvidence, node: int) -> StepEvidence:
    """Make the best two tokens of one node equal in truth up to 1e-9, and the fused path take the other."""
    logits = step.verify.logits
    ours = int(step.verify.fused.target_token_ids[node])
    other = 0 if ours != 0 else 1
    truth = changed(logits.truth, (node, other), logits.truth[node, ours] + 1e-9)
    fused = changed(logits.fused, (node, other), logits.fused[node, ours] - 1e-5)
    samples = tuple(changed(one, (node, other), one[node, ours]) for one in logits.samples)
    logits = replace(logits, truth=truth, fused=fused, samples=samples)
    reference = replace(step.verify.reference, target_token_ids=truth.argmax(-1))
    return replace(step, verify=replace(step.verify, logits=logits, reference=reference))


def test_a_near_tie_of_the_root_is_emitted() -> None:
    row = two_tokens(0.5, 1.0, choice=0).logits
    prefill = PrefillEvidence(
        prompt_token_ids=np.array([5, 6]),
        fused_context_token_ids=np.array([5, 6, 0]),
        reference_context_token_ids=np.array([5, 6, 1]),
        logits=row,
    )
    judgement = judge_step(StepEvidence(moment=Moment(0), prefill=prefill))
    assert [(each.kind, each.emitted) for each in judgement.near_ties] == [("root", True)]
    assert judgement.findings == ()


# A draft of one level after the root's children: two candidates each, budget of the rows known.


def small_draft(truths: list[Any], owns: list[Any], tree_nodes: int, depth: int) -> DraftEvidence:
    """Search two wide over given log-probability rows; samples are off by 0.01 in one unused place."""
    levels, flats = [], []
    beams: list[Any] = [None]
    for number in range(depth + 1):
        own = np.array(owns[number])
        picks = np.argsort(-own, axis=1, kind="stable")[:, :2]
        bases = [np.float32(0)] if number == 0 else [np.float32(flats[beam][0]) for beam in beams]
        scores = np.array(
            [[np.float32(base + own[row, pick]) for pick in picks[row]] for row, base in enumerate(bases)],
            np.float32,
        )
        first = len(flats)
        flats += [
            (scores[row, rank], beams[row], number, int(TARGET_FROM_DRAFT[picks[row, rank]]))
            for row in range(len(beams))
            for rank in range(2)
        ]
        ids = np.array([] if number == 0 else beams, dtype=np.int64)
        levels.append(DraftLevel(beam_flat_ids=ids, token_ids=TARGET_FROM_DRAFT[picks], scores=scores))
        order = sorted(range(first, len(flats)), key=lambda flat: (-flats[flat][0], flat))
        beams = order[:2]
    everyone = sorted(range(len(flats)), key=lambda flat: (-flats[flat][0], flat))
    drafted = assemble(flats, sorted(everyone[: tree_nodes - 1]), tuple(levels))
    truth_rows = [np.array(rows) for rows in truths]
    return DraftEvidence(
        settings=replace(SETTINGS, tree_nodes=tree_nodes, depth=depth, top_k=2),
        root_token_id=7,
        target_from_draft=TARGET_FROM_DRAFT[:4],
        fused=drafted,
        levels=tuple(
            LevelTruth(truth=rows, samples=(rows + np.array([0, 0, 0, 0.01]),)) for rows in truth_rows
        ),
    )


ROOT_ROW = [-0.5, -1.5, -3.0, -8.0]


def drafted(evidence: DraftEvidence) -> StageJudgement:
    return judged(evidence)


@pytest.mark.parametrize(("gap", "near"), [(0.02, True), (0.1, True), (0.5, False)])
def test_a_candidate_left_out_is_a_near_tie_only_within_the_allowance(gap: float, near: bool) -> None:
    """Budget of a row is about 6 x 0.01, so two tokens of it may be 0.12 apart; 0.1 needs both to move."""
    truth = [[-0.5, -1.5, -1.5 - gap, -8.0]]
    own = [[-0.5, -1.5 - gap / 2 - 0.001, -1.5 - gap / 2, -8.0]]
    judgement = drafted(small_draft([truth], [own], tree_nodes=3, depth=0))
    assert [near_tie.kind for near_tie in judgement.near_ties if near_tie.kind == "candidate"] == [
        "candidate"
    ] * near
    assert rules_of(judgement.findings) == (set() if near else {"JUDGE-DRAFT-SCORES"})


def test_swapped_beams_within_the_allowance_are_near_ties() -> None:
    """Level 1 keeps two of four candidates; the second and third truly differ by 0.02 and change places."""
    one = [[-1.0, -1.02, -9.0, -9.0], [-0.02, -9.0, -9.0, -9.0]]  # cumulative -1.5, -1.52 | -1.52
    level_one_own = [[-1.0, -1.03, -9.0, -9.0], [-0.01, -9.0, -9.0, -9.0]]
    two = [[-1.0, -2.0, -9.0, -9.0]] * 2
    truths = [[ROOT_ROW], one, two]
    owns = [[ROOT_ROW], level_one_own, two]
    judgement = drafted(small_draft(truths, owns, tree_nodes=3, depth=2))
    assert judgement.findings == ()
    assert {(each.kind, each.fused, each.reference) for each in judgement.near_ties} == {("beam", 4, 3)}
    assert all(0 <= each.gap <= each.allowance for each in judgement.near_ties)


def test_swapped_beams_beyond_the_allowance_are_findings() -> None:
    """The same swap with scores that do not explain it: structural, and no near tie with it."""
    one = [[-1.0, -1.02, -9.0, -9.0], [-1.5, -9.0, -9.0, -9.0]]
    evidence = small_draft([[ROOT_ROW], one, [[-1.0, -2.0, -9.0, -9.0]] * 2], [[ROOT_ROW], one, one], 3, 2)
    levels = list(evidence.fused.levels)
    levels[2] = replace(levels[2], beam_flat_ids=np.array([2, 4]))
    judgement = drafted(replace(evidence, fused=replace(evidence.fused, levels=tuple(levels))))
    beams = [each for each in judgement.findings if each.rule == "JUDGE-DRAFT-BEAMS"]
    assert [(each.verdict, each.fused, each.reference) for each in beams] == [("structural", 4, 3)]
    assert [each for each in judgement.near_ties if each.kind == "beam"] == []


def test_of_wrong_beams_on_two_levels_the_first_level_is_named() -> None:
    one = [[-1.0, -1.02, -9.0, -9.0], [-1.5, -9.0, -9.0, -9.0]]
    evidence = small_draft([[ROOT_ROW], one, [[-1.0, -2.0, -9.0, -9.0]] * 2], [[ROOT_ROW], one, one], 3, 2)
    levels = list(evidence.fused.levels)
    levels[1] = replace(levels[1], beam_flat_ids=np.array([1, 0]))
    levels[2] = replace(levels[2], beam_flat_ids=np.array([2, 4]))
    judgement = drafted(replace(evidence, fused=replace(evidence.fused, levels=tuple(levels))))
    beams = [each.message for each in judgement.findings if each.rule == "JUDGE-DRAFT-BEAMS"]
    assert len(beams) == 1
    assert beams[0].startswith("beam 0 of level 1 is candidate 1")


def equal_scores() -> tuple[DraftEvidence, list[Any]]:
    """Candidates 1, 2 and 5 all score -1.5: 2 is a child of 0, and 5 one of 1, which costs nothing."""
    rows = [[-0.5, -1.5, -8.0, -8.0]]
    one = [[-1.0, -3.0, -9.0, -9.0], [-9.0, -0.0, -9.0, -9.0]]
    evidence = small_draft([rows, one], [rows, one], tree_nodes=3, depth=1)
    return evidence, [(-0.5, None, 0, 0), (-1.5, None, 0, 1), (-1.5, 0, 1, 0), (), (-1.5, 1, 1, 1)]


def chosen(evidence: DraftEvidence, flats: list[Any], nodes: list[int]) -> StageJudgement:
    return drafted(replace(evidence, fused=assemble(flats, nodes, evidence.fused.levels)))


def test_of_equal_scores_any_may_be_selected() -> None:
    """An operator without an order among equal values takes the higher number; that is a tie, no finding."""
    evidence, flats = equal_scores()
    assert evidence.fused.flat_ids.tolist() == [0, 1]
    assert drafted(evidence).findings == ()
    judgement = chosen(evidence, flats, [0, 2])
    assert judgement.findings == ()
    assert [(each.kind, each.fused, each.reference, each.gap) for each in judgement.near_ties] == [
        ("node", 2, 1, 0.0)
    ]


def test_a_tie_against_the_parent_leaves_an_orphan() -> None:
    """The near miss: the child scores what its parent does, but without the parent there is no tree."""
    evidence, flats = equal_scores()
    (finding,) = chosen(evidence, flats, [0, 4]).findings
    assert finding.rule == "JUDGE-DRAFT-CLOSED"
    assert "a tie may not go against the parent" in finding.message


def test_a_swapped_node_within_the_allowance_is_a_near_tie() -> None:
    rows = [[-0.5, -1.5, -8.0, -8.0]]
    truth = [[-1.01, -3.0, -9.0, -9.0], [-9.0, -9.0, -9.0, -9.0]]  # candidate 2 truly at -1.51, below 1
    own = [[-0.99, -3.0, -9.0, -9.0], [-9.0, -9.0, -9.0, -9.0]]  # and by own score at -1.49, above it
    judgement = drafted(small_draft([rows, truth], [rows, own], tree_nodes=3, depth=1))
    assert judgement.findings == ()
    assert [(each.kind, each.fused, each.reference) for each in judgement.near_ties] == [("node", 2, 1)]


def test_a_wrong_score_is_reported_once_and_not_on_its_children() -> None:
    one = [[-1.0, -1.2, -9.0, -9.0], [-1.5, -1.9, -9.0, -9.0]]
    evidence = small_draft([[ROOT_ROW], one], [[[-0.9, -1.5, -3.0, -8.0]], one], tree_nodes=4, depth=1)
    judgement = drafted(evidence)
    assert [(each.rule, each.verdict) for each in judgement.findings] == [("JUDGE-DRAFT-SCORES", "numeric")]
    assert judgement.findings[0].message.startswith("candidate 0 ")
    assert judgement.near_ties == ()


def test_allowances_add_up_along_a_path() -> None:
    """Each level adds its own error: 0.1 twice passes at depth 2, 0.2 at depth 1 does not (budget 0.12)."""
    one = [[-1.0, -2.0, -9.0, -9.0]] * 2
    shifted = [[-1.1, -2.0, -9.0, -9.0], [-1.0, -2.0, -9.0, -9.0]]
    root = [[-0.6, -1.5, -3.0, -8.0]]
    assert drafted(small_draft([[ROOT_ROW], one], [root, shifted], 4, 1)).findings == ()
    twice = [[-0.7, -1.5, -3.0, -8.0]]
    assert rules_of(drafted(small_draft([[ROOT_ROW], one], [twice, one], 4, 1)).findings) == {
        "JUDGE-DRAFT-SCORES"
    }
