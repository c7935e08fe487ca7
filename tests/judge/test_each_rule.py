"""Every rule of a step has a fault that it alone catches, at the right place and with the right path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judge.placed_faults import (
    DRAFTED,
    STEP,
    Fault,
    accept_nothing,
    at,
    both_trees,
    child_above_parent,
    committed_row_written,
    leave_out,
    length_commit,
    level,
    off_by,
    other_candidate,
    other_choice,
    other_final,
    other_proposal,
    other_root,
    put,
    swapped_beams,
    swapped_rows,
    unordered,
    wrong_row_kept,
)
from tests.judge.support import (
    NUM_NODES,
    PREFIX,
    changed,
    rules_of,
    sound_step,
)
from workbench.judge.rules import RULES
from workbench.judge.step import judge_step

CASES: list[tuple[str, Fault, str, int | None]] = [
    ("JUDGE-SHAPE", put("verify.features.fused", STEP.verify.features.fused[:, :-1]), "fused", None),
    ("JUDGE-NONFINITE", at("verify.kv.fused", (1, 0, 1, 4, 2), np.nan), "fused", 4),
    ("JUDGE-NONFINITE", at("verify.kv.truth", (1, 0, 1, 4, 2), np.inf), "reference", 4),
    ("JUDGE-ROW-MOVED", swapped_rows, "unknown", 2),
    ("JUDGE-PREFILL-CONTEXT", at("prefill.fused_context_token_ids", 2, 0), "fused", None),
    ("JUDGE-PREFILL-KV", at("prefill.kv.fused", (2, 1, 0, 3, 1), off_by(0.01)), "unknown", None),
    ("JUDGE-PREFILL-FEATURES", at("prefill.features.fused", (3, 1), off_by(0.01)), "unknown", None),
    ("JUDGE-PREFILL-LOGITS", at("prefill.logits.fused", 1, off_by(-0.01)), "unknown", None),
    (
        "JUDGE-PREFILL-ARGMAX",
        at("prefill.fused_context_token_ids", -1, lambda old: (old + 1) % 40),
        "fused",
        0,
    ),
    ("JUDGE-PREFILL-ROOT", other_root, "unknown", 0),
    ("JUDGE-DRAFT-KV", at("draft.kv.fused", (0, 1, 0, 2, 1), off_by(0.01)), "unknown", None),
    ("JUDGE-DRAFT-LENGTH", put("draft.kv_lengths", (PREFIX, PREFIX + 1)), "fused", None),
    ("JUDGE-DRAFT-LENGTH", put("draft.kv_lengths", (PREFIX - 1,)), "fused", None),
    ("JUDGE-DRAFT-LEVELS", put("draft.fused.levels", DRAFTED.levels[:-1]), "fused", None),
    ("JUDGE-DRAFT-LEVELS", put("draft.settings", replace(STEP.draft.settings, top_k=4)), "fused", None),
    (
        "JUDGE-DRAFT-LEVELS",
        put("draft.settings", replace(STEP.draft.settings, stop_below=0.99)),
        "fused",
        None,
    ),
    (
        "JUDGE-DRAFT-VOCAB",
        level(-1, token_ids=changed(DRAFTED.levels[-1].token_ids, (-1, -1), 2)),
        "fused",
        None,
    ),
    (
        "JUDGE-DRAFT-ORDER",
        level(
            -1,
            token_ids=changed(DRAFTED.levels[-1].token_ids, -1, DRAFTED.levels[-1].token_ids[-1, [0, 2, 1]]),
            scores=changed(DRAFTED.levels[-1].scores, -1, DRAFTED.levels[-1].scores[-1, [0, 2, 1]]),
        ),
        "fused",
        None,
    ),
    (
        "JUDGE-DRAFT-SCORES",
        level(
            -1, scores=changed(DRAFTED.levels[-1].scores, (-1, -1), DRAFTED.levels[-1].scores[-1, -1] - 0.01)
        ),
        "unknown",
        None,
    ),
    ("JUDGE-DRAFT-CANDIDATES", other_candidate, "unknown", None),
    ("JUDGE-DRAFT-BEAMS", swapped_beams, "fused", 5),
    ("JUDGE-DRAFT-SELECTED", leave_out(inner=False), "fused", 5),
    ("JUDGE-DRAFT-ASCENDING", unordered, "fused", 1),
    ("JUDGE-DRAFT-CLOSED", child_above_parent, "fused", 2),
    ("JUDGE-DRAFT-PARENTS", both_trees("parents", 9, 0), "fused", 9),
    ("JUDGE-DRAFT-COPIES", both_trees("token_ids", 4, 39), "fused", 4),
    ("JUDGE-DRAFT-COPIES", both_trees("depths", 4, 3), "fused", 4),
    ("JUDGE-DRAFT-COPIES", both_trees("logprobs", 4, -9.0), "fused", 4),
    ("JUDGE-DRAFT-ROOT", both_trees("token_ids", 0, 8), "fused", 0),
    ("JUDGE-DRAFT-PROPOSAL", other_proposal, "fused", 5),
    ("JUDGE-TENSORIZE-TOKENS", at("tensorize.fused.token_ids", 3, 0), "fused", 3),
    ("JUDGE-TENSORIZE-PARENTS", at("tensorize.fused.parents", 9, 0), "fused", 9),
    ("JUDGE-TENSORIZE-DEPTHS", at("tensorize.fused.depths", 3, 5), "fused", 3),
    ("JUDGE-TENSORIZE-LOGPROBS", at("tensorize.fused.logprobs", 3, -9.0), "fused", 3),
    ("JUDGE-TENSORIZE-VALID", at("tensorize.fused.valid", 11, True), "fused", 11),
    ("JUDGE-TENSORIZE-POSITIONS", at("tensorize.reference.position_ids", 3, PREFIX), "reference", 3),
    ("JUDGE-TENSORIZE-CACHE", at("tensorize.fused.cache_positions", 3, PREFIX), "fused", 3),
    ("JUDGE-TENSORIZE-VISIBLE", at("tensorize.fused.visible", (2, 1), True), "fused", 2),
    ("JUDGE-TENSORIZE-PADS", at("tensorize.fused.visible", (11, 0), True), "fused", 11),
    ("JUDGE-TENSORIZE-PADS", at("tensorize.fused.token_ids", 10, -1), "fused", 10),
    ("JUDGE-TENSORIZE-PADS", at("tensorize.fused.position_ids", 10, 0), "fused", 10),
    ("JUDGE-VERIFY-VISIBLE", at("verify.fused.visible", (2, 1), True), "fused", 2),
    ("JUDGE-VERIFY-VISIBLE", at("verify.reference.visible", (2, 0), False), "reference", 2),
    ("JUDGE-VERIFY-PREFIX", at("verify.fused.prefix_visible", 4, PREFIX - 1), "fused", 4),
    ("JUDGE-VERIFY-OTHER", at("verify.fused.other_visible", 4, 1), "fused", 4),
    ("JUDGE-COMMIT-PREFIX", committed_row_written, "fused", None),
    ("JUDGE-VERIFY-KV", at("verify.kv.fused", (2, 0, 1, 6, 3), off_by(0.01)), "unknown", 6),
    ("JUDGE-VERIFY-FEATURES", at("verify.features.fused", (6, 3), off_by(0.01)), "unknown", 6),
    ("JUDGE-VERIFY-LOGITS", at("verify.logits.fused", (6, 3), off_by(-0.01)), "unknown", 6),
    ("JUDGE-VERIFY-ARGMAX", at("verify.fused.target_token_ids", 9, -1), "fused", 9),
    ("JUDGE-VERIFY-ARGMAX", at("verify.reference.target_token_ids", 9, 0), "reference", 9),
    ("JUDGE-VERIFY-CHOICE", other_choice, "unknown", 9),
    ("JUDGE-ACCEPT-NODES", accept_nothing, "fused", 1),
    ("JUDGE-ACCEPT-FINAL", other_final, "fused", 1),
    ("JUDGE-ACCEPT-EMITTED", at("accept.reference.emitted_token_ids", 0, 39), "reference", 1),
    ("JUDGE-ACCEPT-STOP", put("accept.fused.stop_reason", "eos"), "fused", None),
    ("JUDGE-ACCEPT-PATH", at("accept.fused.path_indices", 1, PREFIX), "fused", 1),
    ("JUDGE-COMMIT-PREFIX", at("commit.rows_after", (1, 1, 0, 2, 3), 9.0), "fused", None),
    ("JUDGE-COMMIT-ROWS", wrong_row_kept, "fused", 1),
    ("JUDGE-COMMIT-LENGTH", put("commit.lengths_after", (7, 7, 8)), "fused", None),
    ("JUDGE-COMMIT-MODE", length_commit, "fused", None),
    (
        "JUDGE-COMMIT-KEPT",
        put("commit.committed", replace(STEP.commit.committed, prefix_kept=False)),
        "fused",
        None,
    ),
]


@pytest.mark.parametrize(
    ("rule", "fault", "guilty", "node"), CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)]
)
def test_a_fault_is_caught_by_its_rule_alone(rule: str, fault: Fault, guilty: str, node: int | None) -> None:
    findings = judge_step(fault(STEP)).findings
    assert rules_of(findings) == {rule}, [finding.message for finding in findings]
    assert findings[0].guilty == guilty
    assert findings[0].moment.node == node
    assert findings[0].verdict == RULES[rule].verdict
    assert findings[0].message
    assert findings[0].moment.place == (2, 1, 0)


def test_a_missing_inner_node_is_a_wrong_selection_with_orphans() -> None:
    step = replace(leave_out(inner=True)(STEP), tensorize=None)
    assert rules_of(judge_step(step).findings) == {"JUDGE-DRAFT-CLOSED", "JUDGE-DRAFT-SELECTED"}


def test_every_rule_of_a_step_has_a_case() -> None:
    """Rules of two runs, texts, repeats, draws, static trees, what stages do to others: tested alone."""
    of_runs = (
        "JUDGE-ALIGN",
        "JUDGE-PATHS",
        "JUDGE-INPUT",
        "JUDGE-CACHE",
        "JUDGE-REPEAT",
        "JUDGE-STALE",
        "JUDGE-LEANING",
        "JUDGE-DRAW",
        "JUDGE-TEXT",
        "JUDGE-ROUTER",
        "JUDGE-EXPERTS",
    )
    of_drafts = ("JUDGE-DRAFT-DRAWN", "JUDGE-DRAFT-RANK", "JUDGE-DRAFT-TOPOLOGY", "JUDGE-DRAFT-LAW")
    of_samplers = (
        "JUDGE-ACCEPT-SAMPLER",
        "JUDGE-ACCEPT-PROBS",
        "JUDGE-ACCEPT-RECOVERED",
        "JUDGE-ACCEPT-LOGPROBS",
    )
    elsewhere = {rule for rule in RULES if rule.startswith((*of_runs, *of_drafts, *of_samplers))}
    assert {case[0] for case in CASES} == set(RULES) - elsewhere


@given(st.integers(0, 10_000))
def test_a_sound_step_has_no_finding(seed: int) -> None:
    judgement = judge_step(sound_step(seed))
    assert judgement.findings == ()
    assert judgement.not_checked == ()


def test_nothing_is_ok_that_was_not_looked_at() -> None:
    bare = replace(
        STEP,
        prefill=None,
        draft=None,
        tensorize=None,
        verify=None,
        accept=None,
        commit=None,
        missing={"draft": "x"},
    )
    judgement = judge_step(bare)
    assert judgement.findings == ()
    assert judgement.checked == ()
    assert {(each.stage, each.reason) for each in judgement.not_checked if each.stage == "draft"} == {
        ("draft", "x")
    }
    assert {each.stage for each in judgement.not_checked} == {
        "prefill", "draft", "tensorize", "verify", "accept", "commit",
    }  # fmt: skip
    later = replace(bare, moment=replace(bare.moment, step=3))
    assert "prefill" not in {each.stage for each in judge_step(later).not_checked}


def test_pads_may_hold_anything_in_float_rows() -> None:
    """Kernels may leave NaN in fully blocked rows; only valid nodes are judged."""
    pad = NUM_NODES - 1
    step = at("verify.logits.fused", pad, np.nan)(STEP)
    step = at("verify.kv.fused", (0, 0, 0, pad, 0), np.inf)(step)
    step = at("verify.fused.target_token_ids", pad, -1)(step)
    assert judge_step(step).findings == ()


def test_rows_that_the_forward_adds_behind_the_committed_ones_are_no_fault() -> None:
    before, after = np.arange(PREFIX, dtype=np.uint64), np.arange(PREFIX + NUM_NODES, dtype=np.uint64)
    step = replace(STEP, verify=replace(STEP.verify, rows_before=before, rows_after=after))
    assert judge_step(step).findings == ()


def test_a_row_written_by_the_forward_is_its_fault_and_not_that_of_commit() -> None:
    assert judge_step(committed_row_written(STEP)).findings[0].moment.stage == "verify"
