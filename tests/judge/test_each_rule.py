"""Every rule of a step has a fault that it alone catches, at the right place and with the right path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judge.support import (
    NUM_NODES,
    PREFIX,
    assemble,
    changed,
    rules_of,
    sound_step,
    tensorized,
)
from workbench.judge.evidence import StepEvidence
from workbench.judge.rules import RULES
from workbench.judge.step import judge_step

Fault = Callable[[StepEvidence], StepEvidence]
STEP = sound_step()
TREE = STEP.tensorize.fused
DRAFTED = STEP.draft.fused
CHOICES = STEP.verify.fused.target_token_ids


def deep(step: StepEvidence, path: str, value: Any) -> StepEvidence:
    """Replace one nested field, e.g. `verify.logits.fused`."""
    head, _, rest = path.partition(".")
    return replace(step, **{head: deep(getattr(step, head), rest, value) if rest else value})


def at(path: str, place: Any, change: Any) -> Fault:
    """Change one entry of a nested array; `change` is a value or a function of the old one."""

    def fault(step: StepEvidence) -> StepEvidence:
        array: Any = step
        for name in path.split("."):
            array = getattr(array, name)
        value = change(array[place]) if callable(change) else change
        return deep(step, path, changed(array, place, value))

    return fault


def put(path: str, value: Any) -> Fault:
    return lambda step: deep(step, path, value)


def off_by(size: float) -> Callable[[Any], Any]:
    return lambda old: old + size


def level(number: int, **fields: Any) -> Fault:
    def fault(step: StepEvidence) -> StepEvidence:
        levels = list(step.draft.fused.levels)
        levels[number] = replace(levels[number], **fields)
        return deep(step, "draft.fused.levels", tuple(levels))

    return fault


def swapped_rows(step: StepEvidence) -> StepEvidence:
    fused = step.verify.features.fused.copy()
    fused[[2, 5]] = fused[[5, 2]]
    return deep(step, "verify.features.fused", fused)


def other_candidate(step: StepEvidence) -> StepEvidence:
    """The last candidate of the last level (never a beam, never a node) is a much worse token."""
    last = step.draft.fused.levels[-1]
    truth = step.draft.levels[-1].truth[-1]
    worst = int(np.argmin(truth))
    parent = step.draft.fused.levels[-1].beam_flat_ids[-1]
    base = np.concatenate([one.scores.ravel() for one in step.draft.fused.levels])[parent]
    tokens = changed(last.token_ids, (-1, -1), step.draft.target_from_draft[worst])
    return level(-1, token_ids=tokens, scores=changed(last.scores, (-1, -1), base + truth[worst]))(step)


def swapped_beams(step: StepEvidence) -> StepEvidence:
    """Level 2 keeps its beams in the wrong order; the reference is asked over those beams."""
    levels = list(step.draft.fused.levels)
    truths = list(step.draft.levels)
    order = [1, 0, 2]
    last = levels[2]
    levels[2] = replace(
        last,
        beam_flat_ids=last.beam_flat_ids[order],
        token_ids=last.token_ids[order],
        scores=last.scores[order],
    )
    truths[2] = replace(
        truths[2], truth=truths[2].truth[order], samples=tuple(one[order] for one in truths[2].samples)
    )
    step = deep(step, "draft.levels", tuple(truths))
    step = deep(step, "draft.fused.levels", tuple(levels))
    moved = {
        12 + 3 * beam + rank: 12 + 3 * order.index(beam) + rank for beam in range(3) for rank in range(3)
    }
    return reselect(step, [moved.get(int(flat), int(flat)) for flat in step.draft.fused.flat_ids])


def reselect(step: StepEvidence, chosen: list[int]) -> StepEvidence:
    """Assemble the draft anew from other flat numbers, and tensorize from it."""
    flats: list[Any] = []
    for number, one in enumerate(step.draft.fused.levels):
        beams = [None] if number == 0 else one.beam_flat_ids.tolist()
        for row, beam in enumerate(beams):
            flats += [(one.scores[row, k], beam, number, int(one.token_ids[row, k])) for k in range(3)]
    drafted = assemble(flats, sorted(chosen), step.draft.fused.levels)
    tree = tensorized(drafted)
    step = deep(step, "draft.fused", drafted)
    return replace(step, tensorize=replace(step.tensorize, drafted=drafted, fused=tree, reference=tree))


def leave_out(inner: bool) -> Fault:
    """Select a worse candidate instead of a leaf, or (inner) of a node that has children."""

    def fault(step: StepEvidence) -> StepEvidence:
        drafted = step.draft.fused
        has_child = set(drafted.parents[1:].tolist())
        victims = [node for node in range(1, len(drafted.parents)) if (node in has_child) == inner]
        chosen = [int(flat) for node, flat in enumerate(drafted.flat_ids, start=1) if node != victims[0]]
        legal = [
            flat for flat in range(21) if flat not in drafted.flat_ids and _parent_in(step, flat, chosen)
        ]
        return reselect(step, [*chosen, legal[0]])

    return fault


def _parent_in(step: StepEvidence, flat: int, chosen: list[int]) -> bool:
    if flat < 3:
        return True
    number, place = (1, flat - 3) if flat < 12 else (2, flat - 12)
    return int(step.draft.fused.levels[number].beam_flat_ids[place // 3]) in chosen


def child_above_parent(step: StepEvidence) -> StepEvidence:
    """A candidate scores above its unselected parent: the best two by own score are no tree."""
    step = deep(step, "draft.settings", replace(step.draft.settings, tree_nodes=3))
    step = deep(step, "draft.levels", ())  # nobody can say that the score itself is wrong
    last = step.draft.fused.levels[-1]
    step = level(-1, scores=changed(last.scores, (2, 0), 0.0))(step)
    return replace(reselect(step, [0, 18]), tensorize=None)


def unordered(step: StepEvidence) -> StepEvidence:
    """Nodes 1 and 2 change places: same set, same tree, other order."""
    drafted = step.draft.fused
    order = np.arange(len(drafted.parents))
    order[[1, 2]] = order[[2, 1]]
    rank = np.argsort(order)
    again = replace(
        drafted,
        token_ids=drafted.token_ids[order],
        parents=rank[drafted.parents[order]],
        depths=drafted.depths[order],
        logprobs=drafted.logprobs[order],
        flat_ids=drafted.flat_ids[order[1:] - 1],
    )
    tree = tensorized(again)
    step = deep(step, "draft.fused", again)
    return replace(step, tensorize=replace(step.tensorize, drafted=again, fused=tree, reference=tree))


def both_trees(column: str, place: int, value: Any) -> Fault:
    """Change a column in the draft and in the arrays built from it, so that only the draft is to blame."""

    def fault(step: StepEvidence) -> StepEvidence:
        array = changed(getattr(step.draft.fused, column), place, value)
        step = deep(step, f"draft.fused.{column}", array)
        return replace(step, tensorize=None, missing={"tensorize": "left out by the test"})

    return fault


def length_commit(step: StepEvidence) -> StepEvidence:
    """A length commit of the path root, 2, with caches that nobody can look at."""
    path = np.array([PREFIX, PREFIX + 2])
    return replace(
        step,
        commit=replace(
            step.commit,
            path_indices=path,
            committed=replace(step.commit.committed, commit_mode="length"),
            rows_before=None,
            branch_rows=None,
            rows_after=None,
        ),
    )


def wrong_row_kept(step: StepEvidence) -> StepEvidence:
    rows = step.commit.rows_after.copy()
    rows[:, :, :, PREFIX + 1] = step.commit.branch_rows[:, :, :, 3]
    return deep(step, "commit.rows_after", rows)


def other_choice(step: StepEvidence) -> StepEvidence:
    """Without logits a leaf's different choice cannot be proven a near tie."""
    step = deep(step, "verify.logits", None)
    return deep(step, "verify.reference.target_token_ids", changed(CHOICES, 9, (CHOICES[9] + 1) % 40))


def other_proposal(step: StepEvidence) -> StepEvidence:
    """The reference's drafter proposes another tree, where tokens alone decide it."""
    drafted = step.draft.fused
    expected = replace(drafted, parents=changed(drafted.parents, 5, 0))
    return deep(step, "draft.proposal", expected)


def other_root(step: StepEvidence) -> StepEvidence:
    step = deep(step, "prefill.logits", None)
    return at("prefill.reference_context_token_ids", -1, lambda old: (old + 1) % 40)(step)


def _accept_nothing(step: StepEvidence) -> StepEvidence:
    """Stop at the root although a child matches; all else follows from that."""
    choice = int(CHOICES[0])
    accepted = replace(
        step.accept.fused,
        accepted_nodes=np.zeros(0, dtype=np.int64),
        final_token_id=choice,
        emitted_token_ids=np.array([choice]),
        path_indices=np.array([PREFIX]),
    )
    return deep(step, "accept.fused", accepted)


def _other_final(step: StepEvidence) -> StepEvidence:
    accepted = step.accept.fused
    wrong = (accepted.final_token_id + 1) % 40
    emitted = changed(accepted.emitted_token_ids, -1, wrong)
    return deep(step, "accept.fused", replace(accepted, final_token_id=wrong, emitted_token_ids=emitted))


def committed_row_written(step: StepEvidence) -> StepEvidence:
    """The forward over the tree writes into row 2 of the committed cache."""
    rows = np.arange(PREFIX, dtype=np.uint64)
    return replace(
        step, verify=replace(step.verify, rows_before=rows, rows_after=changed(rows, 2, np.uint64(99)))
    )


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
    ("JUDGE-DRAFT-BEAMS", swapped_beams, "fused", None),
    ("JUDGE-DRAFT-SELECTED", leave_out(inner=False), "fused", 5),
    ("JUDGE-DRAFT-ASCENDING", unordered, "fused", 2),
    ("JUDGE-DRAFT-CLOSED", child_above_parent, "fused", 2),
    ("JUDGE-DRAFT-PARENTS", both_trees("parents", 9, 0), "fused", 9),
    ("JUDGE-DRAFT-COPIES", both_trees("token_ids", 4, 39), "fused", 4),
    ("JUDGE-DRAFT-COPIES", both_trees("depths", 4, 3), "fused", 4),
    ("JUDGE-DRAFT-COPIES", both_trees("logprobs", 4, -9.0), "fused", 4),
    ("JUDGE-DRAFT-ROOT", both_trees("token_ids", 0, 8), "fused", 0),
    ("JUDGE-DRAFT-PROPOSAL", other_proposal, "fused", None),
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
    ("JUDGE-ACCEPT-NODES", _accept_nothing, "fused", None),
    ("JUDGE-ACCEPT-FINAL", _other_final, "fused", 1),
    ("JUDGE-ACCEPT-EMITTED", at("accept.reference.emitted_token_ids", 0, 39), "reference", None),
    ("JUDGE-ACCEPT-STOP", put("accept.fused.stop_reason", "eos"), "fused", None),
    ("JUDGE-ACCEPT-PATH", at("accept.fused.path_indices", 1, PREFIX), "fused", None),
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
    """Rules about two runs, about repeats and about what stages do to each other have tests of their own."""
    of_runs = ("JUDGE-ALIGN", "JUDGE-PATHS", "JUDGE-INPUT", "JUDGE-CACHE", "JUDGE-REPEAT")
    elsewhere = {rule for rule in RULES if rule.startswith(of_runs)}
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
