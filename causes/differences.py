"""Where a result of a stage first differs from the right one: the earliest quantity, and its lowest node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.hostarray import host_array
from tracing.stages import Accepted, Drafted, Prefilled, Tensorized, Verified
from workbench.lockstep.tensors.host import host_floats

SAME: Final = 1e-6
"""Floats closer than this share of a row's largest value are the same: another number of rows in a batch may
round otherwise."""

NO_NODE: Final = -1
"""Stands for a value as a whole."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a mistake first changed.

    Attributes:
        quantity: What it is called.
        node: Node of the tree, or None where no single node is meant.
        row: Position of a committed row, where that is what changed.
    """

    stage: str
    quantity: str
    node: int | None = None
    row: int | None = None

    @property
    def place(self) -> str:
        """Stage and node, or row."""
        named = (
            f":{self.node}" if self.node is not None else f" row {self.row}" if self.row is not None else ""
        )
        return f"{self.stage}{named}"


Changes = Iterator[tuple[str, int | None]]


class CommittedRow(int):
    """The position of a committed row, where others give the number of a node."""


Rows = Mapping[str, Any]
"""Cache name to its rows `[layers, 2, kv_heads, R, D]`, or None."""


def first_difference(
    stage: str, right: Any, wrong: Any, rows: tuple[Rows, Rows], arguments: tuple[Any, ...]
) -> Difference | None:
    """Compare two results of a stage, and the caches after it; None where they are the same."""
    judges: dict[str, Callable[[Any, Any, tuple[Rows, Rows], Any], Changes]] = {
        "prefill": _prefilled,
        "draft": _drafted,
        "tensorize": _tensorized,
        "verify": _verified,
        "accept": _accepted,
        "commit": _committed,
    }
    changes = judges[stage](right, wrong, rows, arguments)
    for quantity, node in (*_written_rows(stage, rows, arguments), *changes):
        if isinstance(node, CommittedRow):
            return Difference(stage, quantity, row=int(node))
        return Difference(stage, quantity, node)
    return None


def _written_rows(stage: str, rows: tuple[Rows, Rows], arguments: tuple[Any, ...]) -> Changes:
    """Rows of the teacher's caches after a stage that may only read them."""
    if stage not in {"draft", "tensorize", "accept"}:
        return
    yield from _cache("main", rows)
    ours, theirs = (side.get("branch") for side in rows)
    if stage == "accept" and ours is not None and theirs is not None:
        num_nodes = len(arguments[0].valid)
        yield from _first("tree rows", _nodes(_by_row(ours)[-num_nodes:], _by_row(theirs)[-num_nodes:], None))


def _prefilled(right: Prefilled, wrong: Prefilled, rows: tuple[Rows, Rows], _: Any) -> Changes:
    ours, theirs = np.asarray(right.context_token_ids), np.asarray(wrong.context_token_ids)
    if not np.array_equal(ours[:-1], theirs[:-1]):
        yield "context", None
    yield from _cache("main", rows)
    for name in ("features", "logits"):
        where = changed_rows(getattr(right, name), getattr(wrong, name))
        if where is not None:
            yield name, CommittedRow(where[0]) if name == "features" and where.size else None
    if not np.array_equal(ours, theirs):
        yield "root", 0


def _drafted(right: Drafted, wrong: Drafted, rows: tuple[Rows, Rows], _: Any) -> Changes:
    if right.token_ids[0] != wrong.token_ids[0]:
        yield "root", 0
    yield from _cache("drafter", rows)
    if right.levels is None or wrong.levels is None or right.flat_ids is None or wrong.flat_ids is None:
        found = [*_first("token_ids", _listed(right.token_ids, wrong.token_ids))]
        found += _arrays(right, wrong, ("parents", "logprobs"))
        yield from sorted(found, key=lambda each: (each[1] is None, each[1]))[:1]
        return
    yield from _scores(right, wrong)
    if not np.array_equal(right.flat_ids, wrong.flat_ids):
        intruders = np.flatnonzero(~np.isin(wrong.flat_ids, right.flat_ids))
        if not intruders.size and len(wrong.flat_ids) == len(right.flat_ids):
            intruders = np.flatnonzero(wrong.flat_ids != right.flat_ids)  # the same ones in another order
        yield "selected", int(intruders[0]) + 1 if intruders.size else None
    yield from _arrays(right, wrong, ("parents", "token_ids", "depths", "logprobs"))


def _scores(right: Drafted, wrong: Drafted) -> Changes:
    """Candidates whose score changed, level by level; beams that changed although no score had."""
    node_of = {
        int(flat): place + 1
        for place, flat in enumerate(wrong.flat_ids if wrong.flat_ids is not None else ())
    }
    changed: list[int] = []
    first_flat, aligned = 0, True
    for ours, theirs in zip(right.levels or (), wrong.levels or (), strict=False):
        if not np.array_equal(ours.beam_flat_ids, theirs.beam_flat_ids):
            if not changed:
                places = np.flatnonzero(ours.beam_flat_ids != theirs.beam_flat_ids)
                yield "beams", node_of.get(int(theirs.beam_flat_ids[places[0]]))
                return
            aligned = False
        if aligned and ours.scores.shape == theirs.scores.shape:
            differ = _far(ours.scores.ravel()[:, None], theirs.scores.ravel()[:, None])
            differ |= ours.token_ids.ravel() != theirs.token_ids.ravel()
            changed += (np.flatnonzero(differ) + first_flat).tolist()
        elif aligned:
            yield "levels", None
        first_flat += theirs.scores.size
    if changed:
        below = {flat for flat in node_of if not set(changed).isdisjoint(_line_of(wrong, flat))}
        yield "scores", min((node_of[flat] for flat in below), default=None)


def _line_of(drafted: Drafted, flat: int) -> list[int]:
    """Return a candidate and those above it, by flat number."""
    line, levels = [flat], drafted.levels or ()
    width = levels[0].scores.shape[-1]
    while line[-1] >= width:
        level = 1 + (line[-1] - width) // width**2
        line.append(int(levels[level].beam_flat_ids[(line[-1] - width) % width**2 // width]))
    return line


def _tensorized(right: Tensorized, wrong: Tensorized, _: Any, __: Any) -> Changes:
    names = ("token_ids", "logprobs", "valid", "parents", "depths", "position_ids", "cache_positions")
    yield from _arrays(right, wrong, (*names, "slots", "visible"))


def _verified(right: Verified, wrong: Verified, rows: tuple[Rows, Rows], given: tuple[Any, ...]) -> Changes:
    valid = np.asarray(given[0].valid)
    seen = [
        each
        for name in ("visible", "prefix_visible", "other_visible")
        for each in _nodes(getattr(right, name), getattr(wrong, name), valid)
    ]
    if seen:
        yield from _first("visible", [min(seen)])
    yield from _cache("main", rows)
    ours, theirs = (side.get("branch") for side in rows)
    if ours is not None and theirs is not None:
        length = ours.shape[3] - len(valid)
        yield from _first("kv", _nodes(_by_row(ours)[length:], _by_row(theirs)[length:], valid))
    for name in ("features", "logits", "target_token_ids"):
        yield from _first(name, _nodes(getattr(right, name), getattr(wrong, name), valid))


def _accepted(right: Accepted, wrong: Accepted, _: Any, __: Any) -> Changes:
    ours, theirs = right.accepted_nodes.tolist(), wrong.accepted_nodes.tolist()
    if ours != theirs:
        place = _parting(ours, theirs)
        yield "accepted", int((theirs if place < len(theirs) else ours)[place])
    last = theirs[-1] if theirs else 0
    if right.final_token_id != wrong.final_token_id:
        yield "final", last
    emitted = right.emitted_token_ids.tolist(), wrong.emitted_token_ids.tolist()
    if emitted[0] != emitted[1]:
        place = _parting(*emitted)
        yield "emitted", theirs[place] if place < len(theirs) else last
    if right.stop_reason != wrong.stop_reason:
        yield "stop", None
    kept = right.path_indices.tolist(), wrong.path_indices.tolist()
    if kept[0] != kept[1]:
        place = _parting(*kept)
        yield "path", [0, *theirs][place] if place <= len(theirs) else last


def _committed(right: Any, wrong: Any, rows: tuple[Rows, Rows], given: tuple[Any, ...]) -> Changes:
    accepted: Accepted = given[2]
    length = int(given[0].cache_positions[0])
    ours, theirs = (side.get("main") for side in rows)
    where = None
    if right.commit_mode != wrong.commit_mode:
        yield "mode", None
    if ours is not None and theirs is not None:
        where = changed_rows(_by_row(ours), _by_row(theirs), exact=True)
        if where is not None and where.size and where[0] < length:
            yield "prefix", CommittedRow(where[0])
    for name in ("committed_len", "committed_len_after", "commit_fallback", "prefix_kept"):
        if getattr(right, name) != getattr(wrong, name):
            yield name, None
    if ours is not None and theirs is not None:
        if ours.shape != theirs.shape:
            yield "length", None
        elif where is not None and where.size:
            place = int(where[0]) - length
            path = [0, *accepted.accepted_nodes.tolist()]
            yield "rows", path[place] if place < len(path) else None


def _parting(left: list[int], right: list[int]) -> int:
    same = (place for place, both in enumerate(zip(left, right, strict=False)) if both[0] != both[1])
    return next(same, min(len(left), len(right)))


def _cache(name: str, rows: tuple[Rows, Rows]) -> Changes:
    ours, theirs = (side.get(name) for side in rows)
    if ours is None or theirs is None:
        return
    where = changed_rows(_by_row(ours), _by_row(theirs)) if ours.shape == theirs.shape else np.zeros(0)
    if where is not None:
        yield f"{name} cache", CommittedRow(where[0]) if where.size else None


def _arrays(right: Any, wrong: Any, names: tuple[str, ...]) -> Changes:
    for name in names:
        yield from _first(name, _nodes(getattr(right, name), getattr(wrong, name), None))


def _listed(ours: Any, theirs: Any) -> list[int]:
    """Return where two lists of tokens part, if they do; one may end there."""
    place = _parting(ours.tolist(), theirs.tolist())
    return [place] if place < max(len(ours), len(theirs)) else []


def _first(name: str, nodes: list[int]) -> Changes:
    if nodes:
        yield name, None if nodes[0] == NO_NODE else nodes[0]


def _nodes(ours: Any, theirs: Any, valid: Any) -> list[int]:
    """Return the rows that differ, ascending; `NO_NODE` where the forms differ."""
    if ours is None or theirs is None:
        return []
    where = changed_rows(ours, theirs)
    if where is None:
        return []
    return [int(row) for row in where if valid is None or valid[row]] if where.size else [NO_NODE]


def changed_rows(ours: Any, theirs: Any, *, exact: bool = False) -> NDArray[np.int64] | None:
    """Return the rows (first axis) that differ; empty for another form, None for none."""
    left, right = _host(ours), _host(theirs)
    if left.shape != right.shape or left.dtype.kind != right.dtype.kind:
        return np.zeros(0, dtype=np.int64)
    if left.ndim == 0:
        left, right = left[None], right[None]
    if not left.size:
        return None
    left, right = left.reshape(len(left), -1), right.reshape(len(right), -1)
    differ = (left != right).any(axis=1) if exact or left.dtype.kind in "biu" else _far(left, right)
    return np.flatnonzero(differ) if differ.any() else None


def _far(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows are apart by more than a share of their size; NaN always is."""
    with np.errstate(invalid="ignore"):
        size = np.abs(left).max(axis=1, initial=0.0)
        return np.asarray(~(np.abs(left - right).max(axis=1, initial=0.0) <= SAME * size))


def _by_row(kv: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(kv, 3, 0).reshape(kv.shape[3], -1)


def _host(value: Any) -> NDArray[Any]:
    if hasattr(value, "is_floating_point") and value.is_floating_point():
        return np.asarray(host_floats(value), dtype=np.float64)
    made = np.asarray(host_array(value, "value"))
    return made.astype(np.float64) if made.dtype.kind == "f" else made
