"""Positions: where a node's token is encoded and where its KV lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, narrow, outside, prefilter
from invariants.rotary import declared_offset, lawful_offset
from invariants.rule import BoolArray, IntArray, Violation, Violations, invariant, listed
from tracing.run_facts import ModelFacts

LAWFUL: Final = ("request_id", "model_facts", "request_offsets", "previous_committed_len")
"""With the column of the step before, what says which constant is lawful."""


@invariant(
    "POS001",
    stage="tensorize",
    requires=("TREE004", "TREE005"),
    optional=("rotary_position_ids", "previous_position_ids", *LAWFUL),
)
def position_not_len_plus_depth(
    position_ids: IntArray, depths: IntArray, valid: BoolArray, committed_len: int, **lawful: Any
) -> Violations:
    """A node's position is not the committed length plus its depth.

    ## What it does
    Checks `position_ids[node] == committed_len + depths[node]` for each valid node. When all are off by
    the same amount it says so once, at the root. Where no `rotary_position_ids` are recorded, positions may
    also be those of rotary: off by the constant that the manifest declares for the request or the model.

    ## Why it matters
    The token is rotated to the wrong place: relative distances to the prefix are wrong by a constant, or
    grow with the node number. The text reads well, the choices differ.

    ## Example
    L is 10, node 3 has depth 2 and position 13.

    ## Seen in
    vllm-project/vllm-ascend#11918 (rope misaligned, lengths corrected too late) and #3300 (not advanced per
    draft step), sgl-project/sglang#25015 (added before instead of after the level loop).

    ## Limits
    Positions count from 0 with the root at L. A lag of two and more that nothing declares, of all nodes
    and as in the step before, may be a picture's in the prompt and is not checked.
    """
    offsets = position_ids.astype(np.int64) - committed_len - depths
    expected = 0
    if lawful["rotary_position_ids"] is None:
        expected = _lawful(offsets[valid], lawful["previous_position_ids"], lawful)
    yield from _moved("position_ids", position_ids, offsets, valid, (committed_len, expected))


@invariant(
    "POS005",
    stage="tensorize",
    requires=("TREE004", "TREE005"),
    optional=("previous_rotary_position_ids", *LAWFUL),
)
def rotary_position_moved(
    rotary_position_ids: IntArray, depths: IntArray, valid: BoolArray, committed_len: int, **lawful: Any
) -> Violations:
    """A rotary position is not L + depth plus the constant of its request, on one of the rotary rows.

    ## What it does
    Checks each row of `rotary_position_ids` at each valid node against `committed_len + depths[node]` and
    the offset that the manifest declares for the request or the model. Where none is declared, all rows,
    nodes and steps must at least have the same one.

    ## Why it matters
    A tree holds text alone, so that all rows of a multi-axis embedding agree in it. A delta that is
    forgotten, or added twice, turns every drafted token to the wrong place.

    ## Example
    L is 40, the picture's delta is -13, and node 2 at depth 1 has rows 28, 28 and 41.

    ## Seen in
    vllm-project/vllm#54498 and sgl-project/sglang#34154 (rotary delta of pictures and the cache's length).

    ## Limits
    A constant lag of two and more that nothing declares is not checked.
    """
    offsets = rotary_position_ids.astype(np.int64) - committed_len - depths
    expected = _lawful(offsets[:, valid], lawful["previous_rotary_position_ids"], lawful, rotary=True)
    for row, off in enumerate(offsets):
        if (off[valid] != expected).any():
            law = (committed_len, expected)
            yield from _moved("rotary_position_ids", rotary_position_ids[row], off, valid, law)
            return


def _moved(
    column: str, positions: IntArray, offsets: IntArray, valid: BoolArray, law: tuple[int, int]
) -> Violations:
    """Yield what is off by another number than expected; once where all are off alike."""
    committed_len, expected = law
    nodes = valid.nonzero()[0].tolist()
    off = offsets - expected
    if len(set(off[nodes].tolist())) == 1 and off[0] != 0 and len(nodes) > 1:
        message = f"all positions are off by {off[0]:+d}: root at {positions[0]}, L is {committed_len}"
        message += f", the constant offset {expected}" if expected else ""
        right = committed_len + expected
        yield Violation(message, column, 0, found=int(positions[0]), expected=right)
        return
    for node in nodes:
        if off[node] != 0:
            right = int(positions[node] - off[node])
            depth = right - expected - committed_len
            message = (
                f"node {node} has position {positions[node]}, should be {right} "
                f"(L {committed_len} + depth {depth}{f' + offset {expected}' if expected else ''})"
            )
            yield Violation(message, column, node, found=int(positions[node]), expected=right)


def _lawful(
    offsets: IntArray, previous: IntArray | None, lawful: Mapping[str, Any], *, rotary: bool = False
) -> int:
    """Return the offset that all positions should have; `rotary` where only the declared one is lawful.

    Raises:
        NotApplicableError: It is not known.
    """
    declared = declared_offset(lawful["model_facts"], lawful["request_offsets"] or {}, lawful["request_id"])
    if rotary and declared is not None:
        return declared
    length, before = lawful["previous_committed_len"], None
    if previous is not None and length is not None and previous.size:
        before = int(previous.flat[0]) - length
    return lawful_offset(offsets, declared, before)


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
    prefilter("POS003")(
        lambda position_ids, valid, max_positions: valid & outside(position_ids, 0, max_positions)
    ),
    prefilter("POS004")(lambda cache_positions, kv_capacity: outside(cache_positions, 0, kv_capacity)),
)


@prefilter("POS001")
def _not_at_depth(
    position_ids: IntArray,
    depths: IntArray,
    valid: BoolArray,
    committed_len: IntArray,
    model_facts: ModelFacts | None = None,
) -> Flags:
    """Flag steps that are neither all at L + depth nor all off by what the model declares."""
    off = valid & (position_ids != narrow(committed_len)[:, None] + depths)
    lawful = 0 if model_facts is None else model_facts.rotary_offset
    if not lawful or not off.any():
        return off
    return off.any(axis=1) & (valid & (position_ids - committed_len[:, None] - depths != lawful)).any(axis=1)


@prefilter("POS005")
def _rotary_not_at_depth(
    rotary_position_ids: Ragged, depths: IntArray, valid: BoolArray, committed_len: IntArray
) -> Flags:
    step, node = rotary_position_ids.owner, rotary_position_ids.place % depths.shape[1]
    off = rotary_position_ids.values - committed_len[step] - depths[step, node]
    return rotary_position_ids.any_step(valid[step, node] & (off != 0))


@prefilter("POS002")
def _not_packed(cache_positions: IntArray, committed_len: IntArray) -> Flags:
    length = narrow(committed_len)
    return cache_positions != length[:, None] + np.arange(cache_positions.shape[1], dtype=length.dtype)


def _shifted(case: Case, by: int, column: str) -> Case:
    """The model's rotary positions are 5 ahead of the cache; those recorded are ahead by another number."""
    positions = case.row["position_ids"] + case.row["position_ids"].dtype.type(by)
    rows = np.stack([positions] * 3) if column == "rotary_position_ids" else positions
    return case.edited(**{column: rows}).in_run(model_facts=ModelFacts(rotary_offset=5))


def _one_row_ahead(case: Case, pick: Pick) -> Case:
    return _shifted(case, 5, "rotary_position_ids").moved("rotary_position_ids", (2, pick(case.nodes)), 1)


MUTATIONS: Final[Changes] = {
    "POS001 one-position-ahead": lambda case, pick: case.moved("position_ids", pick(case.nodes), 1),
    "POS001 all-positions-ahead": lambda case, _: case.moved("position_ids", case.nodes, 1),
    "POS001 one-more-than-the-offset": lambda case, _: _shifted(case, 6, "position_ids"),
    "POS005 rotary-one-more-than-the-offset": lambda case, _: _shifted(case, 6, "rotary_position_ids"),
    "POS005 one-rotary-row-ahead": _one_row_ahead,
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
