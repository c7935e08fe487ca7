"""One mistake that explains the whole mask at once; it is reported once, and the cell rules stay silent.

Each rule compares the valid block of `visible` with the closure of parents, altered in one way. A single
wrong cell is never a pattern, so that one flipped bit is reported at its own place. The prefilter clause of
the cells flags all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from invariants.ancestry import ancestor_or_self
from invariants.mutation import Case, Changes
from invariants.prefilter import applicability, has_drafts
from invariants.rule import BoolArray, IntArray, Violation, Violations, draft_nodes, invariant
from invariants.spans import lawful_visible
from tracing.run_facts import ModelFacts

WAIT_FOR = ("TREE002", "TREE003")


def _blocks(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    committed_len: int | None,
    model_facts: ModelFacts | None,
) -> tuple[BoolArray, BoolArray] | None:
    """Return (closure, visible) over valid nodes; None if they differ in less than two cells.

    The closure is what the layer's window leaves of it; a window that is ignored is no pattern (MASK012).

    Raises:
        NotApplicableError: The tree is only a root.
    """
    draft_nodes(valid)
    lawful = lawful_visible(parents, valid, visible, committed_len, model_facts)
    closure = lawful[np.ix_(valid, valid)]
    shown = visible[np.ix_(valid, valid)]
    if np.array_equal(shown, ancestor_or_self(parents, valid)[np.ix_(valid, valid)]):
        return None
    return (closure, shown) if np.count_nonzero(closure != shown) >= 2 else None


def _pattern(
    blocks: tuple[BoolArray, BoolArray], valid: BoolArray, what: str, found: str
) -> Iterator[Violation]:
    """Yield the one violation, at the first node whose row is not the closure's."""
    node = int(np.flatnonzero(valid)[np.argwhere(blocks[0] != blocks[1])[0, 0]])
    yield Violation(f"the tree block of the mask {what}, from node {node} on", "visible", node, found=found)


@invariant("MASK005", stage="verify", requires=WAIT_FOR)
def inverted_polarity(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    committed_len: int | None = None,
    model_facts: ModelFacts | None = None,
) -> Violations:
    """The tree block is exactly inverted: True where it should be False.

    ## What it does
    Compares the valid block of `visible` with the complement of the ancestor closure.

    ## Why it matters
    On Ascend a mask entry of 1 leaves a key out, elsewhere True means attend. A mask that crosses without
    being inverted shows each node everything but its own path.

    ## Example
    `visible` of a root with one child is `[[0, 1], [0, 0]]`.

    ## Seen in
    tc-mb/llama.cpp-omni pull request 89 (mask passed where a bias is expected), the dtype-dependent mask
    value of vllm-project/vllm-ascend; the operator's own page shows both polarities.

    ## Limits
    An inversion with one more error is reported cell by cell (MASK001 to MASK004).
    """
    blocks = _blocks(parents, valid, visible, committed_len, model_facts)
    if blocks is not None and np.array_equal(blocks[0], ~blocks[1]):
        yield from _pattern(blocks, valid, "is inverted", "inverted")


@invariant("MASK006", stage="verify", requires=WAIT_FOR)
def transposed(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    committed_len: int | None = None,
    model_facts: ModelFacts | None = None,
) -> Violations:
    """The tree block is transposed: ancestors attend to their descendants.

    ## What it does
    Compares the valid block of `visible` with the transpose of the ancestor closure.

    ## Why it matters
    Every node sees its future and none of its past; leaves stand alone.

    ## Example
    `visible` of a root with one child is `[[1, 1], [0, 1]]`.

    ## Seen in
    vllm-project/vllm-ascend#8408 (a hand-placed tree matrix whose axes only the kernel knows); a classic of
    mask building, because a chain's causal mask hides it until the first branch.

    ## Limits
    None.
    """
    blocks = _blocks(parents, valid, visible, committed_len, model_facts)
    if blocks is not None and np.array_equal(blocks[0].T, blocks[1]):
        yield from _pattern(blocks, valid, "is transposed", "transposed")


@invariant("MASK007", stage="verify", requires=WAIT_FOR)
def tree_mask_dropped(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    committed_len: int | None = None,
    model_facts: ModelFacts | None = None,
) -> Violations:
    """The tree block is plainly causal or wholly visible: the tree mask did not reach the call.

    ## What it does
    Compares the valid block of `visible` with a lower triangle and with all True.

    ## Why it matters
    Siblings and cousins see each other. The first branch is right, so the text is fluent and acceptance
    is merely low.

    ## Example
    Three siblings whose rows are `1000`, `1100`, `1110`, `1111`.

    ## Seen in
    sgl-project/sglang#20278 (the chosen kernel has no mask argument), sgl-project/sglang#31948 (an explicit
    mask ignored on the NPU).

    ## Limits
    A chain's closure is a lower triangle, so a chain cannot show this defect.
    """
    blocks = _blocks(parents, valid, visible, committed_len, model_facts)
    if blocks is None:
        return
    if np.array_equal(blocks[1], np.tri(len(blocks[1]), dtype=np.bool_)):
        yield from _pattern(blocks, valid, "is plainly causal", "causal")
    elif blocks[1].all():
        yield from _pattern(blocks, valid, "hides nothing", "all visible")


@invariant("MASK008", stage="verify", requires=WAIT_FOR)
def tree_block_shifted(
    parents: IntArray,
    valid: BoolArray,
    visible: BoolArray,
    committed_len: int | None = None,
    model_facts: ModelFacts | None = None,
) -> Violations:
    """The tree block is right but one column to the left or right of where it belongs.

    ## What it does
    Compares the valid block of `visible`, all columns but the one that a shift loses, with the closure
    moved by one column.

    ## Why it matters
    Node i is taken for node i + 1, or the first tree column for the last prefix column: the length that
    placed the mask was not the one that placed the keys.

    ## Example
    `visible[q, k + 1]` equals the closure at `[q, k]` for every q and k.

    ## Seen in
    vllm-project/vllm-ascend#8408 (tree placed in the corner of a template), sgl-project/sglang#27360.

    ## Limits
    Needs at least three valid nodes; shifts by more than one are reported cell by cell.
    """
    blocks = _blocks(parents, valid, visible, committed_len, model_facts)
    if blocks is None or len(blocks[0]) < 3:
        return
    closure, shown = blocks
    if np.array_equal(shown[:, 1:], closure[:, :-1]):
        yield from _pattern(blocks, valid, "is one column too far right", "+1")
    elif np.array_equal(shown[:, :-1], closure[:, 1:]):
        yield from _pattern(blocks, valid, "is one column too far left", "-1")


WITH_DRAFTS = applicability("MASK005", "MASK006", "MASK007", "MASK008")(has_drafts)


def _replaced(case: Case, change: Callable[[BoolArray], BoolArray]) -> Case:
    """Put what is made of the closure in place of it; only where at least two cells then differ."""
    place = np.ix_(case.row["valid"], case.row["valid"])
    closure = ancestor_or_self(case.row["parents"], case.row["valid"])[place]
    shown = change(closure)
    return case.where(np.count_nonzero(closure != shown) > 1, "nearly the same mask").poked(
        "visible", place, shown
    )


def _one_column_right(block: BoolArray) -> BoolArray:
    return np.pad(block[:, :-1], ((0, 0), (1, 0)))


MUTATIONS: Final[Changes] = {
    "MASK005 mask-inverted": lambda case, _: _replaced(case, np.logical_not),
    "MASK006 mask-transposed": lambda case, _: _replaced(case, np.transpose),
    "MASK007 mask-plainly-causal": lambda case, _: _replaced(
        case, lambda block: np.tri(len(block), dtype=np.bool_)
    ),
    "MASK007 mask-not-there": lambda case, _: _replaced(case, np.ones_like),
    "MASK008 mask-one-column-right": lambda case, _: _replaced(
        case.where(len(case.drafts) > 1, "too small a tree"), _one_column_right
    ),
}
