"""The record itself: arrays of one step that should have the same length, and rows that lack something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import prefilter
from invariants.rule import (
    BoolArray,
    FloatArray,
    IntArray,
    NotApplicableError,
    Violation,
    Violations,
    invariant,
)
from tracing.columns import PER_NODE, PER_NODE_ROWS

EVERY_STEP: Final = (
    *("committed_len", "token_ids", "parents", "depths", "valid", "position_ids", "cache_positions"),
    *("visible", "target_token_ids", "target_top_ids", "target_top_logits", "accepted_nodes"),
    *("final_token_id", "emitted_token_ids", "path_indices", "committed_len_after"),
)
"""Columns that a path records at every step or at none; digests and probes may be taken now and then."""


@invariant(
    "ROW001",
    stage="tensorize",
    optional=tuple(name for name in (*PER_NODE, *PER_NODE_ROWS) if name != "parents"),
)
def lengths_disagree(*, parents: IntArray, **columns: Any) -> Violations:
    """A column that should have one entry per node has another number of entries than `parents`.

    ## What it does
    Compares the number of rows of every per-node column with N, the length of `parents`, and asks for
    `visible` to be square and for `target_top_ids` and `target_top_logits` to have the same shape. A tree
    always has a root, so N is at least 1. Most other rules wait for this one.

    ## Why it matters
    A buffer that kept its length from an earlier, larger batch, or a mask sized for another number of
    columns, is read past its meaning: the kernel takes stale rows for live ones.

    ## Example
    `parents` has 60 entries and `position_ids` has 64.

    ## Seen in
    sgl-project/sglang#37553 (verify mask never cut when the batch shrinks), vllm-project/vllm-ascend#14024
    (slot buffers of 8208 and 8200 entries for the same tokens).

    ## Limits
    None; lengths are exact.
    """
    num_nodes = len(parents)
    if num_nodes == 0:
        yield Violation("the step has no nodes; a tree has at least its root", "parents", found=0, expected=1)
    for name, column in columns.items():
        if column is not None and len(column) != num_nodes:
            message = f"{name} has {len(column)} rows, parents has {num_nodes}"
            yield Violation(message, name, found=len(column), expected=num_nodes)
    widths = (columns.get(name) for name in ("visible", "target_top_ids", "target_top_logits"))
    yield from _wrong_widths(num_nodes, *widths)


def _wrong_widths(
    num_nodes: int, visible: BoolArray | None, top_ids: IntArray | None, top_logits: FloatArray | None
) -> Iterator[Violation]:
    """Yield what is wrong with the second axis of the columns that have one."""
    if visible is not None and len(visible) == num_nodes and visible.shape != (num_nodes, num_nodes):
        found = " x ".join(str(size) for size in visible.shape)
        message = f"visible is {found}, should be {num_nodes} x {num_nodes}"
        yield Violation(message, "visible", found=found, expected=f"{num_nodes} x {num_nodes}")
    if top_ids is not None and top_logits is not None and top_ids.shape != top_logits.shape:
        message = f"target_top_logits is {top_logits.shape}, target_top_ids is {top_ids.shape}"
        yield Violation(
            message, "target_top_logits", found=str(top_logits.shape), expected=str(top_ids.shape)
        )


@invariant("ROW002", stage="commit", severity="warning")
def row_incomplete(incomplete: str | None = None) -> Violations:
    """The recorder says that this row lacks something that happened.

    ## What it does
    Passes on what the recorder wrote in `incomplete`.

    ## Why it matters
    A value that no column can hold, or a stage that never ended, is itself a sign of trouble; the rules that
    need it are not checked at this step, and this rule says why.

    ## Example
    `incomplete` is `parents: 3 values do not fit int32`.

    ## Seen in
    sgl-project/sglang#27338 (indices far out of range), and any step in which a process was killed.

    ## Limits
    A warning: a recording that was stopped in mid-step legitimately has one such row.
    """
    if incomplete is not None:
        yield Violation(f"the row is incomplete: {incomplete}", "incomplete", found=incomplete)


@invariant("ROW003", stage="commit", severity="warning", requires=("STEP001",))
def column_lost(
    recorded: frozenset[str], previous_recorded: frozenset[str], incomplete: str | None = None
) -> Violations:
    """A column that the step before has is not recorded in this one, and nothing says why.

    ## What it does
    Compares which columns have a value, of those that a step always has: the tree, visibility, choices,
    acceptance and lengths. Rows that say themselves that they are incomplete, or that a launch was refused,
    are passed over.

    ## Why it matters
    The rules that read the column are not checked at this step, and a run in which everything else holds
    looks fine. Evidence that goes missing is how a fault in an engine's hook hides the fault it should show.

    ## Example
    `target_token_ids` is recorded at steps 0 to 36 and is null at step 37.

    ## Seen in
    vllm-project/vllm-ascend#10901 (an empty list taken for the default), fak#4539 (missing evidence is never
    a pass).

    ## Limits
    A warning: a recorder may be set to keep less from here on. Digests and probes may come and go.
    """
    if incomplete is not None or "launch_refused" in recorded:
        raise NotApplicableError("the row itself says what it lacks")
    for name in EVERY_STEP:
        if name in previous_recorded and name not in recorded:
            yield Violation(f"{name} is not recorded, and the step before has it", name)


CLAUSES: Final = (
    # The numbers of rows are compared where steps are put into groups of one form.
    prefilter("ROW001")(
        lambda target_top_ids, target_top_logits: target_top_ids.shape != target_top_logits.shape
    ),
    prefilter("ROW002")(lambda incomplete: incomplete is not None),
    prefilter("ROW003")(
        lambda recorded, previous_recorded: any(
            name in previous_recorded and name not in recorded for name in EVERY_STEP
        )
    ),
)


def _column_too_long(case: Case, pick: Pick) -> Case:
    name = pick(["position_ids", "depths", "slots", "target_token_ids"])
    return case.edited(**{name: np.append(case.row[name], case.row[name][-1])})


MUTATIONS: Final[Changes] = {
    "ROW001 column-too-long": _column_too_long,
    "ROW002 row-incomplete": lambda case, _: case.edited(incomplete="verify never ended"),
    "ROW003 column-lost": lambda case, pick: case.later.edited(
        **{pick(["target_token_ids", "visible", "position_ids", "path_indices"]): None}
    ),
    "ROW001 top-tokens-cut-short": lambda case, _: case.edited(
        target_top_ids=case.row["target_top_ids"][:, :-1]
    ),
}
