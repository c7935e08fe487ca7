"""Distances of draft attention belong to the nodes that were expanded, and to these alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import (
    BoolArray,
    FloatArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    draft_nodes,
    invariant,
    listed,
)

MAX_NUMBERS: Final = 2**24
"""Candidates of all steps that the prefilter numbers at once; beyond them the loop looks at every step."""

TREE: Final = ("parents", "depths", "valid")


@invariant(
    "DRAFT006", stage="draft", severity="warning", requires=("DRAFT002", "DRAFT003", "TREE004", "TREE005")
)
def distances_of_other_nodes(
    *,
    draft_top1_offsets: Any,
    draft_logprobs: FloatArray,
    parents: IntArray,
    depths: IntArray,
    valid: BoolArray,
    beam_flat_ids: IntArray,
    top_k: int,
) -> Violations:
    """A node that was not expanded has a distance of draft attention, or one that was expanded has none.

    ## What it does
    Numbers the nodes as the official algorithm does (level, beam of the parent, rank among its siblings) and
    looks each number up in `beam_flat_ids`: root and expanded beams have a distance for every head, all other
    nodes and pads have none.

    ## Why it matters
    Distances of an earlier step, or of the row beside, look as plausible as the right ones; the picture of
    where the drafter looks is then one of another tree.

    ## Example
    Node 7 is candidate 12, which is no beam, and has the distances 3 and 41.

    ## Seen in
    sgl-project/sglang#15399 (stale output buffer after replay), sgl-project/sglang#8409 (beam position taken
    for the beam's parent).

    ## Limits
    Trees of a beam search only. Candidates of equal score are interchangeable, so siblings that tie, and the
    nodes of the lowest score, are left out; the values themselves are judged by DRAFT004.
    """
    absent: Any = np.ma.getmaskarray(draft_top1_offsets)
    if absent.all() or not len(beam_flat_ids):
        raise NotApplicableError("no node has a distance" if absent.all() else "no beam was expanded")
    numbers = _flat_numbers(
        scores=draft_logprobs,
        parents=parents,
        depths=depths,
        valid=valid,
        beams=beam_flat_ids.tolist(),
        top_k=top_k,
    )
    missing, foreign = [], []
    for node in range(len(valid)):
        flat = numbers[node]
        expanded = node == 0 or flat in beam_flat_ids if flat is not None else None
        if absent[node].any() and expanded:
            missing.append(node)
        elif not absent[node].all() and (expanded is False or not valid[node]):
            foreign.append(node)
    for wrong, has, should in ((missing, "no distance", "was"), (foreign, "a distance", "was not")):
        if wrong:
            node = wrong[0]
            what = f"node {node}" if valid[node] else f"padding node {node}"
            message = f"{what} {should} expanded and has {has} of draft attention for head "
            head = int((absent if wrong is missing else ~absent)[node].argmax())
            more = f" (so have nodes {listed(wrong)})" if len(wrong) > 1 else ""
            found = None if wrong is missing else int(np.ma.getdata(draft_top1_offsets)[node, head])
            message += f"{head}{'' if found is None else f': {found}'}{more}"
            yield Violation(message, "draft_top1_offsets", node, found=found)


def _flat_numbers(
    *, scores: FloatArray, parents: IntArray, depths: IntArray, valid: BoolArray, beams: list[int], top_k: int
) -> list[int | None]:
    """Return the flat candidate number of each node, -1 for the root; None where a tie leaves it open.

    Raises:
        NotApplicableError: No beam search with `top_k` beams makes this tree.
    """
    numbers: list[int | None] = [None] * len(valid)
    numbers[0] = -1
    nodes = draft_nodes(valid) if valid[1:].any() else []
    lowest = min((float(scores[node]) for node in nodes), default=0.0)
    for node in sorted(nodes, key=lambda each: int(depths[each])):
        siblings = [float(scores[each]) for each in nodes if parents[each] == parents[node]]
        rank, level = sum(each > scores[node] for each in siblings), int(depths[node]) - 1
        above = numbers[parents[node]]
        if rank >= top_k or (above is not None and level > 0 and above not in beams):
            raise NotApplicableError(f"the tree is none of a beam search with {top_k} beams")
        if above is None or float(scores[node]) == lowest or siblings.count(float(scores[node])) > 1:
            continue
        beam = 0 if level == 0 else beams.index(above) % top_k
        start = 0 if level == 0 else top_k + (level - 1) * top_k * top_k
        numbers[node] = start + beam * top_k + rank
    return numbers


@prefilter("DRAFT006")
def _not_the_expanded(
    *,
    draft_top1_offsets: Any,
    draft_logprobs: FloatArray,
    parents_in_tree: IntArray,
    above: IntArray,
    depths: IntArray,
    drafts: BoolArray,
    beam_flat_ids: Ragged,
    top_k: int,
) -> Flags:
    """Number nodes by their place among siblings that stand together, best first; flag all other trees."""
    absent: Any = np.ma.getmaskarray(draft_top1_offsets)
    size, num_heads = len(drafts), absent.shape[2]
    if not num_heads or not beam_flat_ids.lengths.any():
        return False
    has = ~absent[:, :, 0]
    found = ~has[:, 0] | _uneven(absent)
    num_numbers = top_k + (int(beam_flat_ids.lengths.max()) // top_k + 1) * top_k**2
    if num_numbers * size > MAX_NUMBERS:
        return True
    rank = _ranks(parents_in_tree, draft_logprobs, drafts, top_k, found)
    beam = np.full((size, num_numbers + 1), -1, dtype=np.int16)  # the last one is of all numbers beyond
    numbers = np.clip(beam_flat_ids.values, 0, num_numbers - 1)
    beam[beam_flat_ids.owner, numbers] = beam_flat_ids.place % top_k
    beam_of = np.full(drafts.shape, -1, dtype=np.int16)  # entries by their place in all steps, from here on
    for level in range(int(depths.max(initial=0))):
        nodes = np.flatnonzero(drafts & (depths == level + 1))
        step, number = nodes // drafts.shape[1], rank.take(nodes)
        if level:
            of_parent = beam_of.take(above.take(nodes))
            found[step[of_parent < 0]] = True
            number += top_k + (level - 1) * top_k**2 + of_parent.astype(np.int64) * top_k
        beam_of.put(nodes, beam.take(step * (num_numbers + 1) + np.minimum(number, num_numbers)))
    expanded = beam_of >= 0
    expanded[:, 0] = True
    return (found | (expanded != has).any(axis=1)) & ~absent.reshape(size, -1).all(axis=1)


def _uneven(absent: BoolArray) -> BoolArray:
    """Return which steps have a node with a distance for some of its heads only, `[G]`."""
    flat, num_heads = absent.reshape(-1), absent.shape[2]
    changes: Any = flat[1:] != flat[:-1]
    changes[num_heads - 1 :: num_heads] = False  # from one node to the next
    found = np.zeros(len(absent), dtype=np.bool_)
    if changes.any():
        found[np.flatnonzero(changes) // (flat.size // len(absent))] = True
    return found


def _ranks(
    parents: IntArray, scores: FloatArray, drafts: BoolArray, top_k: int, found: BoolArray
) -> IntArray:
    """Return each node's place among its siblings, `[G, N]`; set `found` where these stand apart."""
    size, num_nodes = parents.shape
    beside = np.zeros(parents.shape, dtype=np.bool_)
    beside[:, 2:] = parents[:, 2:] == parents[:, 1:-1]
    first = np.maximum.accumulate(np.where(beside, 0, np.arange(num_nodes)), axis=1)
    rank: IntArray = np.arange(num_nodes) - first
    step, node = np.nonzero(drafts & ~beside)
    families = np.bincount(step * num_nodes + parents[step, node], minlength=size * num_nodes)
    found |= (families.reshape(size, num_nodes) > 1).any(axis=1)
    worse = scores[:, 1:] <= scores[:, :-1]
    found |= (drafts[:, 1:] & ((beside[:, 1:] & ~worse) | (rank[:, 1:] >= top_k))).any(axis=1)
    return rank


def _certain(case: Case) -> list[int | None]:
    row, top_k = case.row, case.context.top_k
    assert top_k is not None
    try:
        beams = row["beam_flat_ids"].tolist()
        return _flat_numbers(
            scores=row["draft_logprobs"], beams=beams, top_k=top_k, **{name: row[name] for name in TREE}
        )
    except NotApplicableError as why:
        raise NoPlaceError(str(why)) from why


def _distance_of_a_leaf(case: Case, pick: Pick) -> Case:
    numbers = _certain(case)
    beams = set(case.row["beam_flat_ids"].tolist())
    leaves = [node for node in case.drafts if numbers[node] is not None and numbers[node] not in beams]
    return case.poked("draft_top1_offsets", (pick(leaves), 0), 0)


def _root_without(case: Case, _: Pick) -> Case:
    _certain(case)
    hidden = case.row["draft_top1_offsets"].copy()
    others = ~np.ma.getmaskarray(hidden)[1:]
    case.where(others.any(), "only the root has a distance")
    hidden[0] = np.ma.masked
    return case.edited(draft_top1_offsets=hidden)


def _of_the_row_beside(case: Case, _: Pick) -> Case:
    _certain(case)
    offsets = case.row["draft_top1_offsets"]
    absent: Any = np.ma.getmaskarray(offsets).all(axis=1)
    case.where(absent[-1] and not absent[0], "the root keeps a distance")
    return case.edited(draft_top1_offsets=offsets[np.roll(np.arange(len(offsets)), 1)])


def _one_head_missing(case: Case, _: Pick) -> Case:
    _certain(case)
    hidden = case.row["draft_top1_offsets"].copy()
    hidden[0, 1] = np.ma.masked
    return case.edited(draft_top1_offsets=hidden)


def _pad_has_one(case: Case, pick: Pick) -> Case:
    _certain(case)
    return case.poked("draft_top1_offsets", (pick(case.pads), 0), 0)


MUTATIONS: Final[Changes] = {
    "DRAFT006 leaf-has-a-distance": _distance_of_a_leaf,
    "DRAFT006 root-has-no-distance": _root_without,
    "DRAFT006 distances-of-the-row-beside": _of_the_row_beside,
    "DRAFT006 one-head-has-no-distance": _one_head_missing,
    "DRAFT006 pad-has-a-distance": _pad_has_one,
}
