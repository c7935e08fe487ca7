"""A recorded row as the values that stages give; a stage whose columns are not there has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from invariants.ancestry import ancestor_or_self, path_to_root
from tracing.codec import required_columns, result_of_row
from tracing.stages import Accepted, Tensorized

Row = Mapping[str, Any]
TREE: Final = required_columns(Tensorized)
ACCEPT: Final = required_columns(Accepted)


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
    return result_of_row(Tensorized, row, visible=ancestor_or_self(row["parents"], row["valid"]))
