"""The committed cache by digest: untouched between commits, and made of exactly the accepted rows."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, entries_at, prefilter
from invariants.rule import IntArray, Violation, Violations, invariant
from tracing.digest import ODD_PRIME, chain


@invariant("KV004", stage="verify", requires=("STEP001", "STEP003"))
def prefix_changed_between_steps(kv_digest_before: int, previous_kv_digest_after: int) -> Violations:
    """The committed cache is not, before a step, what it was after the step before.

    ## What it does
    Checks `kv_digest_before == previous_kv_digest_after`, both read back from memory.

    ## Why it matters
    Something wrote into the committed prefix: a branch that was not isolated, a tail of old slots, a pad row.
    Words already emitted change under the conversation.

    ## Example
    The digest after step 4 and the one before step 5 differ.

    ## Seen in
    vllm-project/vllm-ascend#3482 (later steps wrote to old slots), vllm-project/vllm-ascend#8435 (two maps in
    one buffer), huggingface/transformers#30312; EAGLE-Pangu section 3.1, isolation.

    ## Limits
    Holds for a path that keeps its own cache; after a rebuild by prefill the law begins anew.
    """
    if kv_digest_before != previous_kv_digest_after:
        found, expected = f"{int(kv_digest_before):016x}", f"{int(previous_kv_digest_after):016x}"
        message = f"the committed cache is {found} before the step, it was {expected} after the one before"
        yield Violation(message, "kv_digest_before", found=found, expected=expected)


@invariant("KV005", stage="commit", requires=("ACC001",))
def committed_rows_are_not_the_accepted(
    kv_digest_before: int, kv_digest_after: int, kv_row_digests: IntArray, accepted_nodes: IntArray
) -> Violations:
    """The cache after commit is not the prefix followed by the rows of root and accepted nodes.

    ## What it does
    Chains the digests of the root's and the accepted nodes' rows onto the digest before, and compares with
    the digest after: the prefix is untouched, the right rows were moved, in the right order, unchanged.

    ## Why it matters
    A move with a wrong base, stride or order commits other rows than were accepted, and so does one that
    overwrites its own source. Text degrades slowly, lengths are right.

    ## Example
    Nodes 2 and 5 are accepted and the rows of 2 and 3 are committed.

    ## Seen in
    alibaba/MNN#4591 and #4737 (base mutated inside the loop), openvino pull request 38079 (temporaries were
    reordered, the cache was not), sgl-project/sglang#26866 (the move was a stub).

    ## Limits
    Needs digests of the level `digest`; equality is of bytes, so a commit that recomputes rows fails it.
    """
    path = [0, *accepted_nodes.tolist()]
    expected = chain(int(kv_digest_before), [int(kv_row_digests[node]) for node in path])
    if kv_digest_after != expected:
        message = (
            f"the committed cache is {int(kv_digest_after):016x}, prefix and rows {path} make {expected:016x}"
        )
        yield Violation(
            message, "kv_digest_after", found=f"{int(kv_digest_after):016x}", expected=f"{expected:016x}"
        )


CLAUSES: Final = (
    prefilter("KV004")(
        lambda kv_digest_before, previous_kv_digest_after: kv_digest_before != previous_kv_digest_after
    ),
)


@prefilter("KV005")
def _other_rows_committed(
    kv_digest_before: IntArray, kv_digest_after: IntArray, kv_row_digests: IntArray, accepted_nodes: Ragged
) -> Flags:
    prime = np.uint64(ODD_PRIME)
    state = kv_digest_before.astype(np.uint64) * prime + kv_row_digests[:, 0]
    for place in range(int(accepted_nodes.lengths.max(initial=0))):
        longer = np.flatnonzero(accepted_nodes.lengths > place)
        node = accepted_nodes.values[accepted_nodes.starts[longer] + place]
        state[longer] = state[longer] * prime + entries_at(kv_row_digests, longer, node)
    return state != kv_digest_after


def _prefix_written_over(case: Case, _: Pick) -> Case:
    digest = case.row["kv_digest_before"] ^ 1
    rows = case.row["kv_row_digests"][[0, *case.accepted]]
    return case.later.edited(kv_digest_before=digest, kv_digest_after=chain(digest, rows))


def _rows_moved_in_wrong_order(case: Case, _: Pick) -> Case:
    path = [*reversed(case.accepted), 0]
    if len(path) < 2:
        raise NoPlaceError("one row has no order")
    rows = case.row["kv_row_digests"][path]
    return case.edited(kv_digest_after=chain(case.row["kv_digest_before"], rows))


MUTATIONS: Final[Changes] = {
    "KV004 prefix-written-over": _prefix_written_over,
    "KV005 row-moved-changed": lambda case, _: case.edited(kv_digest_after=case.row["kv_digest_after"] ^ 1),
    "KV005 rows-moved-in-wrong-order": _rows_moved_in_wrong_order,
}
