"""Physical slots of a paged cache: in range, one node each, in step with positions, never a committed one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, prefilter, twice
from invariants.rule import BoolArray, IntArray, NotApplicableError, Violation, Violations, invariant, listed


@invariant("KV009", stage="tensorize", requires=("ROW001",))
def slot_out_of_range(slots: IntArray, valid: BoolArray, num_slots: int | None = None) -> Violations:
    """A node's KV is to be written to a slot that does not exist.

    ## What it does
    Checks `slots[node] >= 0` for each valid node, and `slots[node] < num_slots` where that is known.

    ## Why it matters
    A negative slot addresses the last block from behind, a large one another tensor's memory.

    ## Example
    `slots[5] == -1` and node 5 is valid.

    ## Seen in
    vllm-project/vllm#43810 (slot -1 becomes the last slot of the last block), sgl-project/sglang#27338.

    ## Limits
    Pads may carry -1, the sentinel for "do not write"; whether that is dereferenced, IDX002 tells.
    """
    for node in range(len(slots)):
        if valid[node] and (slots[node] < 0 or (num_slots is not None and slots[node] >= num_slots)):
            end = "" if num_slots is None else f"..{num_slots - 1}"
            message = f"node {node} is written to slot {slots[node]}, slots are 0{end}"
            yield Violation(message, "slots", node, found=int(slots[node]), expected=num_slots)


@invariant("KV010", stage="tensorize", requires=("KV009",))
def slot_written_twice(slots: IntArray, valid: BoolArray) -> Violations:
    """Two nodes are written to the same slot, or a pad is written over a node.

    ## What it does
    Looks for an earlier node with the same slot; pads count unless their slot is negative.

    ## Why it matters
    The second write wins, and the first node's descendants attend to another token's keys.

    ## Example
    `slots = [40, 41, 41]`.

    ## Seen in
    vllm-project/vllm-ascend#3482 (an old tail of slots written again), vllm-project/vllm-ascend#8435 (two
    slot maps in one buffer), sgl-project/sglang#27338.

    ## Limits
    None within one step; slots of earlier steps are judged by KV012.
    """
    writers: dict[int, int] = {}
    for node, slot in enumerate(slots.tolist()):
        if slot < 0 and not valid[node]:
            continue
        other = writers.setdefault(slot, node)
        if other != node and (valid[node] or valid[other]):
            message = f"nodes {other} and {node} are both written to slot {slot}"
            yield Violation(message, "slots", node, found=slot)


@invariant("KV011", stage="tensorize", requires=("KV010", "POS002"))
def slot_off_its_block(
    slots: IntArray, cache_positions: IntArray, valid: BoolArray, block_size: int
) -> Violations:
    """A slot is not at its position's place in a block, or one logical block lies in two physical ones.

    ## What it does
    Checks `slot % block_size == position % block_size`, and that nodes of one logical block share one
    physical block.

    ## Why it matters
    The write goes by one block size or block table and the kernel reads by another: rows are found where
    they were never put.

    ## Example
    Blocks of 128: position 130 in slot 515 (place 3 instead of 2).

    ## Seen in
    vllm-project/vllm-ascend#7019 and #12000 (manager's block size instead of the kernel's),
    ROCm/ATOM pull request 882, vllm-project/vllm#5412.

    ## Limits
    The block table itself is not recorded; a wholly wrong but consistent table is not seen.
    """
    block_of: dict[int, int] = {}
    for node in range(len(slots)):
        if not valid[node]:
            continue
        slot, position = int(slots[node]), int(cache_positions[node])
        block = block_of.setdefault(position // block_size, slot // block_size)
        if slot % block_size != position % block_size or slot // block_size != block:
            expected = block * block_size + position % block_size
            message = f"node {node} at position {position} is in slot {slot}, should be in {expected}"
            yield Violation(message, "slots", node, found=slot, expected=expected)


@invariant("KV012", stage="tensorize", requires=("KV009", "STEP001"))
def committed_slot_overwritten(
    slots: IntArray, previous_slots: IntArray, previous_accepted_nodes: IntArray
) -> Violations:
    """A node is to be written over a row that the step before committed.

    ## What it does
    After a commit the root and the accepted rows lie in the first A + 1 slots of that step. Checks that no
    node of this step, pad or not, is given one of them.

    ## Why it matters
    Words that were accepted vanish from the cache; the text continues and slowly loses the thread.

    ## Example
    One node was accepted in slots 40, 41, and this step begins in slot 41.

    ## Seen in
    vllm-project/vllm-ascend#11918 (slots computed before the length was corrected), sgl-project/sglang#33656
    (write position wraps), vllm-project/vllm-ascend#3482.

    ## Limits
    Looks one step back, and supposes a commit that moves rows to the front, as `path_indices` does.
    """
    kept = set(previous_slots[: len(previous_accepted_nodes) + 1].tolist())
    if not kept:
        raise NotApplicableError("the previous step had no slots")
    hit = [node for node, slot in enumerate(slots.tolist()) if slot in kept]
    if hit:
        message = f"nodes {listed(hit)} are written over slots {listed(slots[hit].tolist())}, just committed"
        yield Violation(message, "slots", hit[0], found=int(slots[hit[0]]))


CLAUSES: Final = (
    prefilter("KV009")(lambda slots, valid: valid & (slots < 0)),
    prefilter("KV009")(lambda slots, valid, num_slots: valid & (slots >= num_slots)),
    prefilter("KV011")(
        lambda slots, cache_positions, valid, block_size: (
            valid & (slots % block_size != cache_positions % block_size)
        )
    ),
)


@prefilter("KV010")
def _same_slot_twice(slots: IntArray) -> Flags:
    rises: Any = slots[:, 1:] > slots[:, :-1]
    if rises.all():
        return False
    found: Any = ~rises.all(axis=1)
    unordered = slots[found]
    found[found] = twice(np.where(unordered < 0, -1 - np.arange(slots.shape[1]), unordered))
    return found


@prefilter("KV011")
def _in_two_blocks(slots: IntArray, cache_positions: IntArray, valid: BoolArray, block_size: int) -> Flags:
    """Neighbours are enough: positions of a step are packed, or POS002 flags it."""
    block, logical = slots // block_size, cache_positions // block_size
    same = (logical[:, 1:] == logical[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    return (same & (block[:, 1:] != block[:, :-1])).any(axis=1)


@prefilter("KV012")
def _over_committed(slots: IntArray, previous_slots: IntArray, previous_accepted_nodes: Ragged) -> Flags:
    """Compare them only where the slots of this step reach down to those that were kept."""
    kept, found = previous_accepted_nodes.lengths + 1, np.zeros(len(slots), dtype=np.bool_)
    most = min(int(kept.max()), previous_slots.shape[1])
    last = np.where(np.arange(most) < kept[:, None], previous_slots[:, :most], slots.min()).max(axis=1)
    near: Any = slots.min(axis=1) <= last
    if near.any():
        kept, now, before = kept[near], slots[near], previous_slots[near]
        hit = np.zeros(len(now), dtype=np.bool_)
        for place in range(most):
            hit |= (place < kept) & (now == before[:, place : place + 1]).any(axis=1)
        found[near] = hit
    return found


def _committed_slot_again(case: Case, pick: Pick) -> Case:
    committed = case.earlier["slots"][: len(case.earlier["accepted_nodes"]) + 1].tolist()
    return case.poked("slots", len(case.row["slots"]) - 1, pick(committed)).in_run(block_size=None)


def _slot_in_another_physical_block(case: Case, pick: Pick) -> Case:
    """Keep the place in the block, so that only the block is another than that of a neighbour."""
    size, nodes = case.context.block_size or 1, case.nodes
    logical = [int(case.row["cache_positions"][node]) // size for node in nodes]
    node = pick([each for each, block in zip(nodes, logical, strict=True) if logical.count(block) > 1])
    return case.poked("slots", node, case.row["slots"][node] + 32 * size)


MUTATIONS: Final[Changes] = {
    "KV009 slot-minus-one": lambda case, pick: case.poked("slots", pick(case.nodes), -1),
    "KV009 slot-past-the-end": lambda case, pick: case.poked(
        "slots", pick(case.nodes), case.context.num_slots
    ),
    "KV010 slot-twice": lambda case, pick: case.poked("slots", pick(case.others), case.row["slots"][0]),
    "KV011 slot-in-another-block": lambda case, pick: case.moved("slots", pick(case.nodes), 513),
    "KV012 committed-slot-again": _committed_slot_again,
    "KV011 slot-in-another-physical-block": _slot_in_another_physical_block,
}
