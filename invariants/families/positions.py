"""Positions: where a node's token is encoded and where its KV lies."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.mutation import Changes
from invariants.prefilter import Flags, outside, prefilter
from invariants.rule import BoolArray, IntArray, Violation, Violations, invariant, listed


@invariant("POS001", stage="tensorize", requires=("TREE004", "TREE005"))
def position_not_len_plus_depth(
    position_ids: IntArray, depths: IntArray, valid: BoolArray, committed_len: int
) -> Violations:
    """A node's rotary position is not the committed length plus its depth.

    ## What it does
    Checks `position_ids[node] == committed_len + depths[node]` for each valid node. When all are off by
    the same amount it says so once, at the root.

    ## Why it matters
    The token is rotated to the wrong place: relative distances to the prefix are wrong by a constant, or
    grow with the node number. The text reads well, the choices differ.

    ## Example
    L is 10, node 3 has depth 2 and position 13.

    ## Seen in
    vllm-project/vllm-ascend#11918 (rope misaligned, lengths corrected too late) and #3300 (not advanced per
    draft step), sgl-project/sglang#25015 (added before instead of after the level loop).

    ## Limits
    Positions count from 0 with the root at L; an engine with another convention must shift before recording.
    """
    offsets = [int(position_ids[node]) - committed_len - int(depths[node]) for node in range(len(depths))]
    nodes = [node for node in range(len(depths)) if valid[node]]
    if len({offsets[node] for node in nodes}) == 1 and offsets[0] != 0 and len(nodes) > 1:
        message = f"all positions are off by {offsets[0]:+d}: root at {position_ids[0]}, L is {committed_len}"
        yield Violation(message, "position_ids", 0, found=int(position_ids[0]), expected=committed_len)
        return
    for node in nodes:
        if offsets[node] != 0:
            expected = committed_len + int(depths[node])
            message = (
                f"node {node} has position {position_ids[node]}, should be {expected} "
                f"(L {committed_len} + depth {depths[node]})"
            )
            yield Violation(message, "position_ids", node, found=int(position_ids[node]), expected=expected)


@invariant("POS002", stage="tensorize", requires=("ROW001",))
def cache_position_not_packed(cache_positions: IntArray, committed_len: int) -> Violations:
    """The logical place of a node's KV is not the committed length plus its number.

    ## What it does
    Checks `cache_positions[node] == committed_len + node` for every node, pads included.

    ## Why it matters
    A smaller place overwrites committed KV, a repeated one another node's, a larger one leaves a hole that
    the mask counts as a node.

    ## Example
    L is 10 and node 0 is written to 9, over the last committed row.

    ## Seen in
    vllm-project/vllm-ascend#11918 and #10878 (places computed from a length that was corrected later),
    sgl-project/sglang#27360 (slice shifted by one block of candidates).

    ## Limits
    None; physical placement is judged by the KV rules on `slots`.
    """
    wrong = [node for node in range(len(cache_positions)) if cache_positions[node] != committed_len + node]
    if len(wrong) == len(cache_positions) > 1:
        found = int(cache_positions[0])
        message = f"no node is at L + its number: the first is at {found}, L is {committed_len}"
        yield Violation(message, "cache_positions", 0, found=found, expected=committed_len)
        return
    for node in wrong:
        expected = committed_len + node
        message = f"node {node} is written to {cache_positions[node]}, should be {expected} (L + node)"
        yield Violation(message, "cache_positions", node, found=int(cache_positions[node]), expected=expected)


@invariant("POS003", stage="tensorize", requires=("ROW001",))
def position_beyond_limit(position_ids: IntArray, valid: BoolArray, max_positions: int) -> Violations:
    """A rotary position is negative or not below the number of rows of the model's table.

    ## What it does
    Checks `0 <= position_ids[node] < max_positions` for each valid node.

    ## Why it matters
    An eager gather past the table may read whatever lies there; the compiled one faults.

    ## Example
    `max_positions` is 2048 and a node is at 2048.

    ## Seen in
    vllm-project/vllm#48894 and sgl-project/sglang#10787 (drafter's rope table sized from its own config),
    vllm-project/vllm-ascend#9221 (drafts pushed past the model's length).

    ## Limits
    Needs `max_positions`, the smaller one of teacher and drafter.
    """
    wrong = [n for n in range(len(position_ids)) if valid[n] and not 0 <= position_ids[n] < max_positions]
    if wrong:
        found = int(position_ids[wrong[0]])
        message = f"nodes {listed(wrong)} have positions outside 0..{max_positions - 1}, the first {found}"
        yield Violation(message, "position_ids", wrong[0], found=found, expected=max_positions - 1)


@invariant("POS004", stage="tensorize", requires=("ROW001",))
def cache_position_beyond_capacity(cache_positions: IntArray, kv_capacity: int) -> Violations:
    """A node's KV is to be written outside the rows that the cache has.

    ## What it does
    Checks `0 <= cache_positions[node] < kv_capacity` for every node, pads included: pads are written too.

    ## Why it matters
    A static cache sized for tokens and not for tokens plus the tree is written past its end near the limit.

    ## Example
    The cache holds 2048 rows, L is 2000 and the tree has 60 nodes.

    ## Seen in
    vllm-project/vllm-ascend#14024 (110 draft slots needed, 104 allocated), sgl-project/sglang#26972.

    ## Limits
    Needs `kv_capacity`; a cache that grows by itself has none.
    """
    wrong = [node for node, place in enumerate(cache_positions.tolist()) if not 0 <= place < kv_capacity]
    if wrong:
        found = int(cache_positions[wrong[0]])
        message = f"nodes {listed(wrong)} lie outside the cache of {kv_capacity} rows, the first at {found}"
        yield Violation(message, "cache_positions", wrong[0], found=found, expected=kv_capacity - 1)


CLAUSES: Final = (
    prefilter("POS001")(
        lambda position_ids, depths, valid, committed_len: (
            valid & (position_ids != committed_len[:, None] + depths)
        )
    ),
    prefilter("POS003")(
        lambda position_ids, valid, max_positions: valid & outside(position_ids, 0, max_positions)
    ),
    prefilter("POS004")(lambda cache_positions, kv_capacity: outside(cache_positions, 0, kv_capacity)),
)


@prefilter("POS002")
def _not_packed(cache_positions: IntArray, committed_len: IntArray) -> Flags:
    packed = committed_len[:, None] + np.arange(cache_positions.shape[1])
    return (cache_positions != packed).any(axis=1)


MUTATIONS: Final[Changes] = {
    "POS001 one-position-ahead": lambda case, pick: case.moved("position_ids", pick(case.nodes), 1),
    "POS001 all-positions-ahead": lambda case, _: case.moved("position_ids", case.nodes, 1),
    "POS001 positions-not-advanced": lambda case, _: case.where(case.drafts, "only a root").edited(
        position_ids=np.full_like(case.row["position_ids"], case.row["committed_len"])
    ),
    "POS002 cache-positions-one-back": lambda case, _: case.moved("cache_positions", ..., -1),
    "POS002 cache-position-twice": lambda case, pick: case.moved("cache_positions", pick(case.others), -1),
    "POS003 position-past-the-table": lambda case, _: case.in_run(
        max_positions=int(case.row["position_ids"].max())
    ),
    "POS004 cache-too-small": lambda case, _: case.in_run(kv_capacity=int(case.row["cache_positions"][-1])),
}
