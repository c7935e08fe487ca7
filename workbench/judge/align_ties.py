"""Two recorded steps whose drafts differ only in how equal scores were ordered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.ancestry import path_to_root
from tracing.columns import COLUMN_BY_NAME

Row = Mapping[str, Any]
"""A column's name to its flat value, None where it is null or not recorded."""
PLACES: Final = ("cache_positions", "slots")
"""Columns that belong to a node's place and not to the node."""
NODES: Final = ("accepted_nodes", "path_indices")
"""Columns that name nodes, by number or by logical position."""
NEEDED: Final = ("token_ids", "parents", "valid", "draft_logprobs", "committed_len")
ROUNDING: Final = 1 / 64
"""Share by which logits of one node may differ where it stands at another place."""
_TokenPath = tuple[int, ...]


def same_but_for_ties(left: Row, right: Row) -> bool:
    """Whether two rows hold the same tree and say the same of each node, in two orders of equal scores.

    Nodes are matched by their tokens from the root on. What is not understood counts as different.
    """
    if any(row.get(name) is None for row in (left, right) for name in NEEDED):
        return False
    ours, theirs = _paths(left), _paths(right)
    if ours is None or theirs is None or sorted(ours) != sorted(theirs):
        return False
    number_of = {path: node for node, path in enumerate(theirs)}
    order = np.array([number_of[path] for path in ours], dtype=np.int64)
    order = np.concatenate([order, np.arange(len(order), len(left["parents"]))])
    if not _ordered_by_ties(left["draft_logprobs"], order):
        return False
    moved = bool((order != np.arange(len(order))).any())
    names = [name for name in left if name != "beam_flat_ids" and not (moved and _hangs_on_order(name))]
    return all(_same(name, left, right, order) for name in names)


def _hangs_on_order(name: str) -> bool:
    """Whether a column's bits depend on the order in which nodes are packed: sums run over them in it."""
    return COLUMN_BY_NAME[name].kind == "uint64" or name == "target_top_ids"


def chosen_by_a_tie(left: Row, right: Row) -> bool:
    """Whether two trees under one root differ only in which candidates of the lowest score are in them.

    What a step makes of its tree then differs too, and nothing but the emitted tokens can be compared.
    """
    if any(row.get(name) is None for row in (left, right) for name in NEEDED):
        return False
    ours, theirs = _scores(left), _scores(right)
    if not ours or not theirs or left["committed_len"] != right["committed_len"]:
        return False
    lowest, shared = min(ours.values()), ours.keys() & theirs.keys()
    alone = [score for side in (ours, theirs) for path, score in side.items() if path not in shared]
    agree = all(ours[path] == theirs[path] for path in shared)
    return agree and len(ours) == len(theirs) and bool(alone) and all(score == lowest for score in alone)


def _scores(row: Row) -> dict[_TokenPath, float]:
    """Return the score of each node by its tokens; empty where they do not tell nodes apart."""
    paths = _paths(row)
    return {} if paths is None else dict(zip(paths, row["draft_logprobs"].tolist(), strict=False))


def _paths(row: Row) -> list[_TokenPath] | None:
    """Return the tokens from the root to each valid node; None where they do not tell nodes apart."""
    parents, tokens = row["parents"], row["token_ids"]
    valid = np.asarray(row["valid"], dtype=np.bool_)
    if not len(parents) == len(tokens) == len(valid) or not valid[: int(valid.sum())].all():
        return None
    walks = [path_to_root(node, parents) for node in range(int(valid.sum()))]
    if any(walk is None for walk in walks):
        return None
    paths = [tuple(int(tokens[node]) for node in reversed(walk or ())) for walk in walks]
    return paths if len(set(paths)) == len(paths) else None


def _ordered_by_ties(scores: NDArray[Any], order: NDArray[np.int64]) -> bool:
    """Whether a tie is there at all where nodes stand in another order: without one, the order is a fault."""
    moved = np.flatnonzero(order != np.arange(len(order)))
    if not moved.size:
        return True
    values, times = np.unique(scores[moved], return_counts=True)
    return len(values) < len(moved) and bool((times > 1).any())


def _same(name: str, left: Row, right: Row, order: NDArray[np.int64]) -> bool:
    """Whether two rows agree in a column, the right one's nodes put in the order of the left one's."""
    ours, theirs = left.get(name), right.get(name)
    if not isinstance(ours, np.ndarray) or not isinstance(theirs, np.ndarray):
        return ours is theirs or bool(ours == theirs)
    if ours.shape != theirs.shape:
        return False
    if name in NODES:
        first = int(left["committed_len"]) if name == "path_indices" else 0
        inside = bool(((ours >= first) & (ours < first + len(order))).all())
        return inside and np.array_equal(order[ours - first] + first, theirs)
    if name == "parents":
        return np.array_equal(order[ours], theirs[order])
    equal = _close if name == "target_top_logits" else _equal
    return equal(ours, theirs if name in PLACES else _reordered(theirs, COLUMN_BY_NAME[name].axes, order))


def _reordered(values: NDArray[Any], axes: tuple[str, ...] | None, order: NDArray[np.int64]) -> NDArray[Any]:
    """Return a flat column with its nodes in another order; one without nodes as it is."""
    size = len(order)
    if axes == ("N", "N"):
        return values.reshape(size, size)[np.ix_(order, order)].reshape(-1)
    if axes is not None and axes[:1] == ("N",):
        return values.reshape(size, -1)[order].reshape(-1)
    if axes is not None and axes[1:] == ("N",):
        return values.reshape(-1, size)[:, order].reshape(-1)
    return values


def _equal(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Compare values; NaN, which stands for a null too, equals itself."""
    floating = ours.dtype.kind == "f" and theirs.dtype.kind == "f"
    return np.array_equal(ours, theirs, equal_nan=floating)


def _close(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Compare logits of one node in two packings."""
    return np.allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
