"""Blocks belong to one request: pads stay out of the way, and two requests never write into one block."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, applicability, has_pads, prefilter
from invariants.rule import (
    BoolArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    invariant,
    listed,
    pad_nodes,
)
from invariants.writes import Writes


@invariant("KV013", stage="tensorize", requires=("KV010", "KV011", "POS002"))
def pad_written_elsewhere(
    slots: IntArray,
    cache_positions: IntArray,
    valid: BoolArray,
    block_size: int,
    null_block: int | None = None,
) -> Violations:
    """A padding node is written to a slot that is neither its own place nor set aside for padding.

    ## What it does
    A pad's slot is negative (not written), in the null block if the run declares one, or the slot of its own
    position `committed_len + node` in the request's blocks. Any other slot is reported, as is a node that is
    written to the null block.

    ## Why it matters
    A sentinel that is clamped to 0 sends every padding row to slot 0, the first token of whoever holds that
    block.

    ## Example
    Blocks of 16, node 21 is a pad at position 45, and its slot is 0.

    ## Seen in
    vllm-project/vllm-ascend#15867 (slots of pads clamped from -1 to 0), vllm-project/vllm#43810.

    ## Limits
    Needs `block_size`; the null block stands in the manifest (`model_facts`, first KV group, `null_block`).
    """
    block_of = {
        int(cache_positions[n]) // block_size: int(slots[n]) // block_size for n in np.flatnonzero(valid)
    }
    into_null = [n for n in np.flatnonzero(valid).tolist() if slots[n] // block_size == null_block]
    if into_null:
        message = f"nodes {listed(into_null)} are written to the null block {null_block}, the first to slot "
        found = int(slots[into_null[0]])
        yield Violation(f"{message}{found}", "slots", into_null[0], found=found)
    for node in [] if into_null else pad_nodes(valid):
        slot, position = int(slots[node]), int(cache_positions[node])
        if slot < 0 or slot // block_size == null_block:
            continue
        block = block_of.get(position // block_size, slot // block_size)
        own = block * block_size + position % block_size
        if slot != own:
            spare = "no null block is declared" if null_block is None else f"the null block is {null_block}"
            message = (
                f"padding node {node} at position {position} is written to slot {slot}, should be -1 or "
            )
            message += f"its own place; {spare}"
            yield Violation(message, "slots", node, found=slot, expected=-1)


@invariant("KV014", stage="tensorize", requires=("KV009", "STEP001"))
def block_of_another_request(
    *,
    slots: IntArray,
    valid: BoolArray,
    previous_slots: IntArray,
    previous_valid: BoolArray,
    written_between: tuple[Writes, ...],
    block_size: int | None = None,
    dp_rank: int | None = None,
    request_epoch: int | None = None,
    previous_request_epoch: int | None = None,
) -> Violations:
    """Another request wrote into a block between two steps in which this request writes into it.

    ## What it does
    Looks at the steps of other requests between this step and the one before it. A block that this request
    writes to in both steps is its own all the time; a step of another request that writes into it, with a
    node or a pad, is reported. Without `block_size` it is the same slot that counts.

    ## Why it matters
    Two requests share memory: the second one's keys replace the first one's, and both texts go wrong where
    they are long, or only under load.

    ## Example
    Requests 0 and 1 take turns, and both write to slots 24 to 47.

    ## Seen in
    ModelTC/lightllm and vllm-project/vllm-ascend#8435 (two slot maps in one buffer),
    sgl-project/sglang#30578 (draft slots that run past a request's last block).

    ## Limits
    Requests that take one step each in turn; a request that was left out of a launch may have been preempted
    and given other blocks, and is not judged. Which of the two is wrong cannot be told.
    """
    if request_epoch != previous_request_epoch:
        raise NotApplicableError("the request was preempted since its step before")
    size = block_size or 1
    kept = slots[valid] // size
    own = set(kept.tolist()) & set((previous_slots[previous_valid] // size).tolist())
    for other in written_between:
        taken = sorted(own & set((other.slots // size).tolist())) if other.rank == dp_rank else []
        if taken:
            node = int(np.flatnonzero(valid & (slots // size == taken[0]))[0])
            theirs = int(other.slots[other.slots // size == taken[0]][0])
            where = f" of block {taken[0]}" if block_size else ""
            message = (
                f"node {node} is written to slot {slots[node]}{where}; the step {other.place} of another "
            )
            message += (
                f"request wrote to slot {theirs} in between, and this request's step before did as well"
            )
            yield Violation(
                message, "slots", node, found=int(slots[node]), expected=f"{other.place}: {theirs}"
            )


CLAUSES: Final = (applicability("KV013")(has_pads),)


@prefilter("KV013")
def _pads_elsewhere(
    slots: IntArray,
    cache_positions: IntArray,
    valid: BoolArray,
    block_size: int,
    null_block: int | None = None,
) -> Flags:
    """Neighbours are enough: positions of a step are packed, or POS002 flags it."""
    block, logical = slots // block_size, cache_positions // block_size
    in_null = np.zeros_like(valid) if null_block is None else block == null_block
    stray = ~valid & (slots >= 0) & ~in_null
    split = (logical[:, 1:] == logical[:, :-1]) & (block[:, 1:] != block[:, :-1])
    found = (stray & (slots % block_size != cache_positions % block_size)) | (valid & in_null)
    found[:, 1:] |= split & (stray[:, 1:] | stray[:, :-1])
    return found


def _pad_in_a_strange_block(case: Case, pick: Pick) -> Case:
    pad, size = pick(case.pads), case.context.block_size
    case.where(size, "no blocks")
    return case.poked("slots", pad, (int(case.row["cache_positions"][pad]) + 1) % (size or 1))


def _neighbour_in_the_block(case: Case, _: Pick) -> Case:
    earlier, size = case.earlier, case.context.block_size or 1
    kept = set((case.row["slots"][case.nodes] // size).tolist())
    kept &= set((earlier["slots"][earlier["valid"]] // size).tolist())
    case.where(kept, "the two steps have no block in common")
    other = {**earlier, "prompt_id": 99, "slots": earlier["slots"][:1] * 0 + min(kept) * size}
    return case.after_others(other)


MUTATIONS: Final[Changes] = {
    "KV013 pad-slot-clamped": _pad_in_a_strange_block,
    "KV013 node-in-the-null-block": lambda case, pick: case.in_run(
        null_block=int(case.row["slots"][pick(case.nodes)]) // (case.context.block_size or 1)
    ),
    "KV014 neighbour-in-the-block": _neighbour_in_the_block,
}
