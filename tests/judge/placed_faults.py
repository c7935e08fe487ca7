"""Faults placed by hand in one sound step: what each rule of a step is to catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.judge.support import PREFIX, assemble, changed, sound_step, tensorized
from workbench.judge.evidence import StepEvidence

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
    step = deep(step, "draft.levels", ())  # nothing shows that the score itself is wrong
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
    """A length commit of the path root, 2, with caches that are not shown."""
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


def accept_nothing(step: StepEvidence) -> StepEvidence:
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


def other_final(step: StepEvidence) -> StepEvidence:
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
