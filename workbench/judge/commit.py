"""Judges commit: prefix and moved rows keep their bits inside one path's own cache; all exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.judge.evidence import CommitEvidence
from workbench.judge.notes import Notes


def judge_commit(notes: Notes, evidence: CommitEvidence) -> None:
    """Judge what commit did to the tested path's cache."""
    _judge_lengths(notes, evidence)
    _judge_report(notes, evidence)
    if evidence.rows_before is None or evidence.rows_after is None:
        notes.lacks("kv_prefix", "the path does not show its cache")
    else:
        judge_prefix(notes, evidence.rows_before, evidence.rows_after, "the step", evidence.committed_len)
    _judge_moved(notes, evidence)


def _judge_lengths(notes: Notes, evidence: CommitEvidence) -> None:
    """Judge the length law in the report of commit and in every layer."""
    expected = evidence.committed_len + len(evidence.path_indices)
    before, after, law = "committed_len", "committed_len_after", f"L + A + 1 = {expected}"
    reported: list[tuple[str, str, int, int, str]] = []
    if evidence.committed is not None:
        length = evidence.committed_len
        reported.append((before, "committed_len", evidence.committed.committed_len, length, f"L = {length}"))
        reported.append((after, "committed_len_after", evidence.committed.committed_len_after, expected, law))
    reported += [
        (after, f"length of layer {layer}", length, expected, law)
        for layer, length in enumerate(evidence.lengths_after or ())
    ]
    if evidence.rows_after is not None and not evidence.lengths_after:
        num_rows = _rows_first(evidence.rows_after).shape[0]
        reported.append((after, "number of rows after commit", num_rows, expected, law))
    if not reported:
        notes.lacks("committed_len_after")
        return
    notes.check("committed_len_after")
    for column, what, length, right, why in reported:
        if length != right:
            message = f"{what} is {length}, expected {why}"
            notes.finding("JUDGE-COMMIT-LENGTH", column, message, fused=length, reference=right)
            return


def _judge_report(notes: Notes, evidence: CommitEvidence) -> None:
    committed = evidence.committed
    if committed is None or committed.commit_mode is None:
        notes.lacks("commit_mode")
        return
    notes.check("commit_mode")
    chain = evidence.committed_len + np.arange(len(evidence.path_indices))
    if committed.commit_mode == "length" and not np.array_equal(evidence.path_indices, chain):
        came = np.asarray(evidence.path_indices).tolist()
        message = f"a length commit ran, but the path is {came}, not {chain.tolist()}"
        notes.finding("JUDGE-COMMIT-MODE", "commit_mode", message, fused="length", reference="reorder")
    if committed.prefix_kept is False:
        message = "commit reports that positions 0..L-1 did not keep their order"
        notes.finding("JUDGE-COMMIT-KEPT", "prefix_kept", message, fused="False", reference="True")


def judge_prefix(
    notes: Notes, before: NDArray[Any], after: NDArray[Any], during: str, committed_len: int | None = None
) -> None:
    """Judge that the committed rows, of the first `committed_len` or all, are bit-equal before and after."""
    notes.check("kv_prefix")
    before, after = _rows_first(before)[:committed_len], _rows_first(after)[:committed_len]
    num_rows = min(len(before), len(after))
    changed = np.flatnonzero(~_rows_equal(before[:num_rows], after[:num_rows]))
    if changed.size:
        message = f"committed row {changed[0]} changed its bits during {during}"
        message += f" ({changed.size} of {num_rows} rows)"
        notes.finding("JUDGE-COMMIT-PREFIX", "kv_digest_after", message, fused=int(changed[0]))


def _judge_moved(notes: Notes, evidence: CommitEvidence) -> None:
    """Judge that row L + j after commit is the branch row of the j-th node of the path, bit for bit."""
    if evidence.branch_rows is None or evidence.rows_after is None:
        notes.lacks("kv_rows", "the path does not show its branch cache")
        return
    notes.check("kv_rows")
    branch, after = _rows_first(evidence.branch_rows), _rows_first(evidence.rows_after)
    before = None if evidence.rows_before is None else _rows_first(evidence.rows_before)
    for place, position in enumerate(np.asarray(evidence.path_indices).tolist()):
        target, node = evidence.committed_len + place, position - evidence.committed_len
        wanted = f"the bits of node {node}"
        if target >= len(after) or not 0 <= node < len(branch):
            held = "nothing to compare"
            message = f"row {target} (node {node} of the path) is not there to be compared"
        elif _rows_equal(branch[node : node + 1], after[target : target + 1])[0]:
            continue
        else:
            held = _holder(after[target], branch, before)
            message = f"row {target} should hold {wanted} and holds {held}"
        rule, column = "JUDGE-COMMIT-ROWS", "kv_row_digests"
        notes.finding(rule, column, message, node=node, fused=held, reference=wanted)


def _holder(row: NDArray[Any], branch: NDArray[Any], before: NDArray[Any] | None) -> str:
    """Return whose bits a row has: another node's, those of another position, or nobody's."""
    for rows, what in ((branch, "node"), (before, "committed row")):
        if (
            rows is not None
            and (same := np.flatnonzero(_rows_equal(rows, np.broadcast_to(row, rows.shape)))).size
        ):
            return f"those of {what} {same[0]}"
    return "those of no node of this step (stale or altered)"


def _rows_first(array: NDArray[Any]) -> NDArray[Any]:
    """Return one line of bytes per row, uint8 `[R, ...]`: digests `[R]` or `[layers, 2, kv_heads, R, D]`."""
    rows = array if array.ndim == 1 else np.moveaxis(array, 3, 0)
    rows = np.ascontiguousarray(rows).reshape(rows.shape[0], -1)
    return rows.view(np.uint8)


def _rows_equal(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows have the same bytes, `[R]`; rows of another width are never equal."""
    if left.shape != right.shape:
        return np.zeros(len(left), dtype=np.bool_)
    return np.asarray((left == right).all(axis=1), dtype=np.bool_)
