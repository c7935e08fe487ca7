"""Beams of the level above, and attention to what exists."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Changes
from invariants.prefilter import Flags, applicability, outside, prefilter, twice
from invariants.rule import IntArray, NotApplicableError, Violation, Violations, invariant, listed
from tracing.run_facts import ModelFacts


@invariant("DRAFT003", stage="draft")
def beam_of_another_level(beam_flat_ids: IntArray, top_k: int) -> Violations:
    """An expanded beam is not a candidate of the level above, or is expanded twice, or a level is not full.

    ## What it does
    Cuts `beam_flat_ids` into levels of `top_k` and checks each against the flat numbers of the candidates
    that the level above made: 0..K-1, then K * K per level; no number twice, and every level full.

    ## Why it matters
    The drafter continues from a row of another level: its keys and its feature belong to another path.

    ## Example
    `top_k` is 2 and the second level expands candidate 1 again, which the first level made.

    ## Seen in
    sgl-project/sglang#8409 (1, 2, 3, 4, 5 expanded where 1, 1, 1, 3, 3 were needed),
    sgl-project/sglang#27338.

    ## Limits
    The official numbering with `top_k` beams at every level; leave the column null for other drafters.
    """
    if not len(beam_flat_ids):
        raise NotApplicableError("no beam was expanded")
    for place, beam in enumerate(beam_flat_ids.tolist()):
        level = place // top_k
        start = 0 if level == 0 else top_k + (level - 1) * top_k * top_k
        stop = start + (top_k if level == 0 else top_k * top_k)
        if not start <= beam < stop:
            message = f"beam {place % top_k} of level {level + 1} is candidate {beam}, "
            message += f"the candidates above it are {start}..{stop - 1}"
            yield Violation(message, "beam_flat_ids", found=beam, expected=start)
        elif beam in beam_flat_ids[:place].tolist():
            first = beam_flat_ids.tolist().index(beam)
            message = (
                f"beams {first % top_k} and {place % top_k} of level {level + 1} are both candidate {beam}"
            )
            yield Violation(message, "beam_flat_ids", found=beam)
    if len(beam_flat_ids) % top_k:
        message = f"{len(beam_flat_ids)} beams are no whole number of levels of {top_k}"
        yield Violation(message, "beam_flat_ids", found=len(beam_flat_ids))


@invariant("DRAFT004", stage="draft", requires=("TREE004",))
def attention_to_what_is_not_there(
    draft_top1_offsets: Any, depths: IntArray, committed_len: int, model_facts: ModelFacts | None = None
) -> Violations:
    """The drafter attends most to a key after its query, before the first token, or outside its window.

    ## What it does
    Checks `0 <= draft_top1_offsets[node, head] <= committed_len + depths[node]` wherever a node was expanded;
    where the manifest says that the drafter has a window (`model_facts`), the distance lies inside it.

    ## Why it matters
    A negative distance is attention to the future or to a stale row behind the query; one beyond the first
    token is a row that was never written, or positions that disagree with the cache.

    ## Example
    Node 0 at L = 10 attends most to a key 25 positions back.

    ## Seen in
    ggml-org/llama.cpp#26478 (drafter's last position disagrees with the batch), Ascend/sglang pull request
    141.

    ## Limits
    The most attended key only, from an eager probe; a leak with little weight is not seen.
    """
    values = np.ma.getdata(draft_top1_offsets)
    absent = np.ma.getmaskarray(draft_top1_offsets)
    if absent.all():
        raise NotApplicableError("no node was expanded")
    for node in range(len(depths)):
        limit = committed_len + int(depths[node])
        if model_facts is not None and model_facts.drafter_window:
            limit = min(limit, model_facts.drafter_window - 1)
        seen = values[node][~absent[node]].tolist()
        wrong = [offset for offset in seen if not 0 <= offset <= limit]
        if wrong:
            message = f"node {node} attends {listed(wrong)} positions back, there are 0..{limit}"
            yield Violation(message, "draft_top1_offsets", node, found=wrong[0], expected=limit)


CLAUSES: Final = (
    applicability("DRAFT001", "DRAFT002", "DRAFT003", "DRAFT004", "DRAFT005", "DRAFT006")(
        lambda proposer: proposer  # a chain or a static tree has no search to check, and says so
    ),
    prefilter("DRAFT003")(lambda beam_flat_ids, top_k: beam_flat_ids.lengths % top_k != 0),
    applicability("DRAFT003", "DRAFT006")(lambda beam_flat_ids: beam_flat_ids.lengths > 0),
    applicability("DRAFT004", "DRAFT006")(
        lambda draft_top1_offsets: ~np.ma.getmaskarray(draft_top1_offsets).all(axis=(1, 2))
    ),
)


@prefilter("DRAFT003")
def _of_another_level(beam_flat_ids: Ragged, top_k: int) -> Flags:
    level = np.arange(beam_flat_ids.lengths.max()) // top_k
    start = np.where(level == 0, 0, top_k + (level - 1) * top_k * top_k)
    size = np.where(level == 0, top_k, top_k * top_k)
    numbers = beam_flat_ids.values - start[beam_flat_ids.place]
    return beam_flat_ids.any_step(outside(numbers, 0, size[beam_flat_ids.place]))


@prefilter("DRAFT003")
def _expanded_twice(beam_flat_ids: Ragged) -> Flags:
    lengths, width = beam_flat_ids.lengths, int(beam_flat_ids.lengths.max())
    if (lengths == width).all():
        return twice(beam_flat_ids.values.reshape(len(lengths), width))
    beams = np.tile(-1 - np.arange(width), (len(lengths), 1))
    beams[beam_flat_ids.owner, beam_flat_ids.place] = beam_flat_ids.values
    return twice(beams)


@prefilter("DRAFT004")
def _beyond_context(
    draft_top1_offsets: Any,
    depths: IntArray,
    committed_len: IntArray,
    model_facts: ModelFacts | None = None,
) -> Flags:
    """Look at the entries that are there, which are those of the few nodes that were expanded."""
    size, num_nodes, num_heads = draft_top1_offsets.shape
    there = np.flatnonzero(~np.ma.getmaskarray(draft_top1_offsets))
    offsets, node = np.ma.getdata(draft_top1_offsets).take(there), there // max(num_heads, 1)
    limit = committed_len.take(node // num_nodes) + depths.take(node)
    if model_facts is not None and model_facts.drafter_window:
        limit = np.minimum(limit, model_facts.drafter_window - 1)
    found = np.zeros(size, dtype=np.bool_)
    found[node[outside(offsets, 0, limit + 1)] // num_nodes] = True
    return found


MUTATIONS: Final[Changes] = {
    "DRAFT003 beam-of-first-level-again": lambda case, _: case.poked("beam_flat_ids", 3, 1),
    "DRAFT003 beam-twice": lambda case, _: case.poked("beam_flat_ids", 4, case.row["beam_flat_ids"][3]),
    "DRAFT003 beam-level-cut-short": lambda case, _: case.edited(
        beam_flat_ids=case.row["beam_flat_ids"][:-1]
    ),
    "DRAFT004 attends-ahead": lambda case, pick: case.poked("draft_top1_offsets", (0, pick([0, 1])), -1),
    "DRAFT004 attends-before-the-start": lambda case, pick: case.poked(
        "draft_top1_offsets", (0, pick([0, 1])), case.row["committed_len"] + 1
    ),
    "DRAFT004 attends-outside-its-window": lambda case, _: case.in_run(
        model_facts=ModelFacts(drafter_window=4)
    ).poked("draft_top1_offsets", (0, 0), 4),
    "DRAFT003 beam-of-the-next-level": lambda case, _: case.poked("beam_flat_ids", 3, 12),
    "DRAFT003 beam-minus-one": lambda case, _: case.poked("beam_flat_ids", 3, -1),
}
