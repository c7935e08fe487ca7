"""A recorded row as the values that stages give; a stage whose columns are not there has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from invariants.ancestry import ancestor_or_self, path_to_root
from tracing.stages import Accepted, Committed, Tensorized

Row = Mapping[str, Any]
TREE: Final = ("token_ids", "parents", "depths", "valid", "position_ids", "cache_positions")
ACCEPT: Final = ("accepted_nodes", "final_token_id", "emitted_token_ids", "path_indices")


def lacking(row: Row, names: tuple[str, ...]) -> str:
    """Return a clause that names the columns which a row does not have, or an empty string."""
    missing = [name for name in names if row.get(name) is None]
    return f"{', '.join(missing)} not recorded" if missing else ""


def is_tree(row: Row) -> bool:
    """Whether every valid node's walk over its parents ends at the root, and all arrays have one length."""
    parents = row["parents"]
    same = all(len(row[name]) == len(parents) for name in TREE if row.get(name) is not None)
    return bool(
        same
        and len(parents)
        and all(path_to_root(node, parents) is not None for node in np.flatnonzero(row["valid"]).tolist())
    )


def tensorized_of(row: Row) -> Tensorized:
    """Return the static arrays; `visible` is the closure of the recorded parents, as it should be built.

    Args:
        row: Has the columns of `TREE`, and `is_tree`.
    """
    scores = row.get("draft_logprobs")
    return Tensorized(
        token_ids=_ints(row["token_ids"]),
        parents=_ints(row["parents"]),
        depths=_ints(row["depths"]),
        valid=np.asarray(row["valid"], dtype=np.bool_),
        logprobs=np.zeros(len(row["parents"]), np.float32) if scores is None else np.asarray(scores),
        position_ids=_ints(row["position_ids"]),
        cache_positions=_ints(row["cache_positions"]),
        visible=ancestor_or_self(row["parents"], row["valid"]),
    )


def accepted_of(row: Row) -> Accepted:
    """Return the acceptance; the row has the columns of `ACCEPT`."""
    return Accepted(
        accepted_nodes=_ints(row["accepted_nodes"]),
        final_token_id=int(row["final_token_id"]),
        emitted_token_ids=_ints(row["emitted_token_ids"]),
        path_indices=_ints(row["path_indices"]),
        stop_reason=row.get("stop_reason"),
    )


def committed_of(row: Row) -> Committed:
    """Return what commit said; the row has both committed lengths."""
    return Committed(
        committed_len=int(row["committed_len"]),
        committed_len_after=int(row["committed_len_after"]),
        commit_mode=row.get("commit_mode"),
        commit_fallback=row.get("commit_fallback"),
        prefix_kept=row.get("prefix_kept"),
    )


def _ints(values: Any) -> Any:
    return np.asarray(values, dtype=np.int64)
