"""Exact comparison of integer and boolean arrays, node by node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.judge.notes import Notes, first_few
from workbench.judge.places import MAX_LISTED, entry_or_end, named
from workbench.judge.row_findings import MAX_ROWS_NAMED


def same_shape(notes: Notes, column: str, value: NDArray[Any], shape: tuple[int, ...], path: str) -> bool:
    """Return whether an array has the expected shape, and write down when it has not."""
    if value.shape == shape:
        return True
    notes.finding(
        "JUDGE-SHAPE",
        column,
        f"{column} of the {path} path has shape {list(value.shape)}, expected {list(shape)}",
        guilty=path,
        fused=str(list(value.shape)),
        reference=str(list(shape)),
    )
    return False


def judge_exact(
    notes: Notes,
    rule: str,
    column: str,
    value: NDArray[Any],
    expected: NDArray[Any],
    *,
    nodes: NDArray[np.int64],
    path: str,
) -> None:
    """Compare `value[node]` of a path with `expected[node]` for each of `nodes`; NaN equals NaN."""
    wrong = [int(node) for node in nodes if not _same(value[node], expected[node])]
    for node, tail in first_few(wrong, MAX_ROWS_NAMED, "nodes"):
        came, law = value[node].item(), expected[node].item()
        message = f"{named(column, (node,))} is {came}{_on(path)}, expected {law}{tail}"
        notes.finding(rule, column, message, guilty=path, node=node, **_sides(path, came, law))


def _same(left: Any, right: Any) -> bool:
    """Return whether two numpy scalars are equal, NaN included."""
    return bool(left == right or (left != left and right != right))  # noqa: PLR0124 - NaN differs from itself


def _on(path: str) -> str:
    return "" if path == "fused" else f" on the {path} path"


def _sides(path: str, came: Any, law: Any) -> dict[str, Any]:
    """Return a value where its path's values stand in a finding, and what it should be beside it."""
    return {"fused": came, "reference": law} if path == "fused" else {"reference": came}


def judge_list(
    notes: Notes,
    rule: str,
    column: str,
    value: NDArray[Any],
    expected: NDArray[Any],
    *,
    path: str,
    message: str,
    node_at: Callable[[int], int | None] = lambda _: None,
) -> None:
    """Compare two short lists whole, length included; `message` says what the list must be.

    `node_at` gives the node that is meant at a place of the list, from 0.
    """
    ours, theirs = value.tolist(), expected.tolist()
    if ours == theirs:
        return
    place = parting(ours, theirs)
    node = node_at(place)
    at = "" if node is None else f"; they part at node {node}"
    what, left, right = column, str(ours), str(theirs)
    if max(len(ours), len(theirs)) > MAX_LISTED:
        what, (left, right) = named(column, (place,)), (entry_or_end(each, place) for each in (ours, theirs))
    message = f"{what} is {left}{_on(path)}, expected {right}: {message}{at}"
    notes.finding(rule, column, message, guilty=path, node=node, **_sides(path, left, right))


def parting(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    """Return the first place in which two lists differ; the shorter one's end where it begins the other."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(ours), len(theirs)))


def judge_num_draws(notes: Notes, draws: NDArray[Any] | None, expected: int) -> None:
    """Judge that a stage took as many uniforms as the reference does; None where its draws are not known."""
    if draws is None:
        return
    notes.check("num_draws")
    if len(draws) != expected:
        message = f"the {notes.stage} stage took {len(draws)} draws, expected {expected}"
        notes.finding("JUDGE-DRAW-COUNT", "draws", message, fused=len(draws), reference=expected)


def judge_visible(
    notes: Notes,
    rule: str,
    value: NDArray[np.bool_],
    expected: NDArray[np.bool_],
    *,
    nodes: NDArray[np.int64],
    path: str,
) -> None:
    """Compare rows of `visible[query, key]`, naming the first wrong key of each query."""
    wrong = [int(node) for node in nodes if not np.array_equal(value[node], expected[node])]
    for node, tail in first_few(wrong, MAX_ROWS_NAMED, "nodes"):
        key = int(np.flatnonzero(value[node] != expected[node])[0])
        sees = bool(value[node, key])
        verb = "sees" if sees else "does not see"
        notes.finding(
            rule,
            "visible",
            f"node {node} {verb} node {key}{_on(path)}, expected the contrary{tail}",
            guilty=path,
            node=node,
            **_sides(path, f"visible[{node}, {key}] = {sees}", f"visible[{node}, {key}] = {not sees}"),
        )
