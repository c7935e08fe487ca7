"""Commit: how long the cache gets, which rows it keeps, and in which mode."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, accepted_at, applicability, prefilter
from invariants.rule import IntArray, NotApplicableError, Violation, Violations, invariant, listed

COMMIT_MODES: Final = ("length", "full_reorder", "fast_reorder")


@invariant("KV001", stage="commit", requires=("ACC001",))
def length_law_broken(committed_len: int, committed_len_after: int, accepted_nodes: IntArray) -> Violations:
    """The committed length did not grow by the accepted nodes plus the root.

    ## What it does
    Checks `committed_len_after == committed_len + A + 1`.

    ## Why it matters
    One row too few forgets a token, one too many keeps a rejected one; all later positions are shifted.

    ## Example
    L is 10, two nodes are accepted, and the length after is 12 instead of 13.

    ## Seen in
    kekzl/imp#667 (rollback off by one), vllm-project/vllm-ascend#8033 (rejected count ignored),
    sgl-project/sglang#13826 (allocated length not updated).

    ## Limits
    One length per step; layers that disagree among themselves show in the digests (KV004, KV005).
    """
    expected = committed_len + len(accepted_nodes) + 1
    if committed_len_after != expected:
        message = (
            f"the cache is {committed_len_after} long after the step, should be {expected} "
            f"({committed_len} + {len(accepted_nodes)} accepted + root)"
        )
        found = int(committed_len_after)
        yield Violation(message, "committed_len_after", found=found, expected=expected)


@invariant("KV002", stage="accept", requires=("ACC001",))
def path_indices_are_not_the_path(
    path_indices: IntArray, committed_len: int, accepted_nodes: IntArray
) -> Violations:
    """The cache positions to keep are not those of the root and the accepted nodes.

    ## What it does
    Compares `path_indices` with `committed_len + [0, accepted nodes...]`.

    ## Why it matters
    Rows of rejected nodes are committed in place of accepted ones; the next step attends to words that
    were never emitted.

    ## Example
    L is 10, node 4 is accepted, and `path_indices` is `[10, 11]` instead of `[10, 14]`.

    ## Seen in
    NVIDIA/TensorRT-LLM#10343 (rewind kept as one number cannot express a path), alibaba/MNN#4591 (base
    changed inside the loop), sgl-project/sglang#26866 (accept index read past its end).

    ## Limits
    None; the rows that were really moved are judged by KV005.
    """
    expected = [committed_len, *(committed_len + node for node in accepted_nodes.tolist())]
    found = path_indices.tolist()
    if found != expected:
        message = f"path_indices is {listed(found)}, root and accepted nodes lie at {listed(expected)}"
        yield Violation(message, "path_indices", found=listed(found), expected=listed(expected))


@invariant("KV003", stage="commit")
def prefix_not_kept(prefix_kept: bool) -> Violations:
    """The commit did not keep the rows of the committed prefix in their order.

    ## What it does
    Checks `prefix_kept`, what the commit says of positions 0..L-1.

    ## Why it matters
    A reorder may only touch the rows of the tree. One that gathers the prefix through a wrong index mixes
    the conversation.

    ## Example
    The fast reorder fell back to a full one whose index list began at 1.

    ## Seen in
    huggingface/transformers#30312 (a crop that built another cache), openvino pull request 38079 (a reorder
    that worked on temporaries).

    ## Limits
    What the commit says of itself; the digest rules KV004 and KV005 look at the bytes.
    """
    if not prefix_kept:
        yield Violation("the commit did not keep the prefix in order", "prefix_kept", found=0, expected=1)


@invariant("KV006", stage="commit", requires=("ACC001",))
def length_commit_of_a_branch(commit_mode: str, accepted_nodes: IntArray) -> Violations:
    """A commit by length kept the first rows although the accepted nodes are not the first nodes.

    ## What it does
    With `commit_mode == "length"`, checks that the accepted nodes are 1, 2, ..., A.

    ## Why it matters
    Keeping the first A + 1 rows is right for a chain. In a packed tree these are rows of other branches, so
    rejected keys are committed; no length and no count looks wrong.

    ## Example
    Node 3 is accepted and committed by length: the row of node 1 is kept.

    ## Seen in
    NVIDIA/TensorRT-LLM#10343 (a single number to rewind), sgl-project/sglang#26866 (the move of the path
    was a stub); EAGLE-Pangu section 3.1 names both modes.

    ## Limits
    None.
    """
    if commit_mode != "length":
        raise NotApplicableError(f"the commit ran as {commit_mode}")
    found = accepted_nodes.tolist()
    expected = list(range(1, len(found) + 1))
    if found != expected:
        message = f"a commit by length keeps nodes {listed(expected)}, accepted are {listed(found)}"
        yield Violation(message, "commit_mode", found=listed(found), expected=listed(expected))


@invariant("KV007", stage="commit", severity="warning")
def commit_mode_without_reason(
    commit_mode: str, asked_commit_mode: str, commit_fallback: str | None = None
) -> Violations:
    """Another commit ran than was asked for, and nothing says why, or none and a reason is given.

    ## What it does
    Checks that `commit_mode` is a known mode, and that it is the asked one or `commit_fallback` gives a
    reason, not both.

    ## Why it matters
    A fast path that silently never runs looks right and costs its speed; one that runs unasked was never
    tested.

    ## Example
    `fast_reorder` was asked for, `full_reorder` ran, `commit_fallback` is null.

    ## Seen in
    ggml-org/llama.cpp#25345 (speculation silently off), EAGLE-Pangu section 3.1 (fallback of the fast
    reorder).

    ## Limits
    A warning: what ran may be right.
    """
    if commit_mode not in COMMIT_MODES:
        message = f"commit mode {commit_mode!r} is not one of {', '.join(COMMIT_MODES)}"
        yield Violation(message, "commit_mode", found=commit_mode, expected=asked_commit_mode)
    elif commit_mode != asked_commit_mode and not commit_fallback:
        message = f"{asked_commit_mode} was asked for, {commit_mode} ran, and no reason is recorded"
        yield Violation(message, "commit_mode", found=commit_mode, expected=asked_commit_mode)
    elif commit_mode == asked_commit_mode and commit_fallback:
        message = f"{commit_mode} was asked for and ran, and a fallback is recorded: {commit_fallback}"
        yield Violation(message, "commit_fallback", found=commit_fallback)


CLAUSES: Final = (
    prefilter("KV001")(
        lambda committed_len, committed_len_after, accepted_nodes: (
            committed_len_after != committed_len + accepted_nodes.lengths + 1
        )
    ),
    prefilter("KV002")(
        lambda path_indices, accepted_nodes: path_indices.lengths != accepted_nodes.lengths + 1
    ),
    prefilter("KV003")(lambda prefix_kept: ~prefix_kept.astype(np.bool_)),
    prefilter("KV007")(lambda commit_mode: ~np.isin(commit_mode.astype(str), COMMIT_MODES)),
    applicability("KV006")(lambda commit_mode: commit_mode),
)


@prefilter("KV002")
def _other_rows_kept(path_indices: Ragged, committed_len: IntArray, accepted_nodes: Ragged) -> Flags:
    step, place = path_indices.owner, path_indices.place - 1
    on_path = (place >= 0) & (place < accepted_nodes.lengths[step])
    node = accepted_at(accepted_nodes, step, place, on_path)
    return path_indices.any_step(path_indices.values != committed_len[step] + node)


@prefilter("KV006")
def _branch_by_length(commit_mode: NDArray[Any], accepted_nodes: Ragged) -> Flags:
    is_branch = accepted_nodes.any_step(accepted_nodes.values != accepted_nodes.place + 1)
    return (commit_mode == "length") & is_branch


@prefilter("KV007")
def _reason_disagrees(
    commit_mode: NDArray[Any], asked_commit_mode: str, commit_fallback: Any = None
) -> Flags:
    no_reason = True if commit_fallback is None else commit_fallback == ""
    return (commit_mode != asked_commit_mode) == no_reason


def _first_rows_kept(case: Case, _: Pick) -> Case:
    first = np.arange(len(case.accepted) + 1, dtype=np.int32) + np.int32(case.row["committed_len"])
    if np.array_equal(first, case.row["path_indices"]):
        raise NoPlaceError("the first nodes are the path")
    return case.edited(path_indices=first)


MUTATIONS: Final[Changes] = {
    "KV001 length-one-more": lambda case, _: case.edited(
        committed_len_after=case.row["committed_len_after"] + 1
    ),
    "KV002 first-rows-kept": _first_rows_kept,
    "KV002 path-without-root": lambda case, _: case.edited(path_indices=case.row["path_indices"][1:]),
    "KV003 prefix-reordered": lambda case, _: case.edited(prefix_kept=False),
    "KV006 committed-by-length": lambda case, _: case.where(
        case.accepted != list(range(1, len(case.accepted) + 1)), "a chain may be committed by length"
    ).edited(commit_mode="length", commit_fallback="asked to"),
    "KV007 silent-fallback": lambda case, _: case.edited(commit_mode="full_reorder"),
    "KV007 fallback-without-cause": lambda case, _: case.edited(commit_fallback="prefix not in order"),
    "KV002 path-cut-short": lambda case, _: case.edited(path_indices=case.row["path_indices"][:-1]),
    "KV007 commit-mode-unknown": lambda case, _: case.edited(
        commit_mode="copied", commit_fallback="asked to"
    ),
}
