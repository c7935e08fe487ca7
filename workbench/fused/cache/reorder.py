"""Ways to adopt the accepted path into the committed cache. They take `path_indices`, and never build them.

Each `why_not_*` returns the reason why its way may not run, or None.
"""

from __future__ import annotations

import numpy as np

from tracing.errors import ContractError
from tracing.stages import IntArray
from workbench.fused.cache.rows import RowCache


def why_not_length(main: RowCache, branch: RowCache, path_indices: IntArray) -> str | None:
    """The length commit adopts the first rows behind the prefix, so the path has to occupy them."""
    committed_len = main.get_seq_length()
    if not np.array_equal(path_indices, np.arange(committed_len, committed_len + len(path_indices))):
        return "path does not occupy the first slots behind the prefix"
    return _why_not_appendable(main, branch, path_indices)


def why_not_fast(main: RowCache, branch: RowCache, path_indices: IntArray) -> str | None:
    """The fast reorder keeps the prefix as one slice, so the path has to begin right behind it and ascend."""
    if len(path_indices) == 0 or path_indices[0] != main.get_seq_length():
        return "path does not begin at the root's slot"
    if np.any(np.diff(path_indices) <= 0):
        return "path does not ascend"
    return _why_not_appendable(main, branch, path_indices)


def _why_not_appendable(main: RowCache, branch: RowCache, path_indices: IntArray) -> str | None:
    if len(set(main.lengths)) > 1 or len(set(branch.lengths)) > 1:
        return "layers differ in length"
    if path_indices.max(initial=0) >= branch.get_seq_length():
        return "path leaves the branch"
    return None


def append_slice(main: RowCache, branch: RowCache, num_rows: int) -> None:
    """Length commit: append the first `num_rows` rows behind the prefix."""
    start = main.get_seq_length()
    main.append_from(branch, start, start + num_rows)


def append_path(main: RowCache, branch: RowCache, path_indices: IntArray) -> None:
    """Fast reorder: the prefix stays where it is, only the rows of the path are gathered."""
    main.append(branch.gather(path_indices))


def gather_all(main: RowCache, branch: RowCache, path_indices: IntArray) -> bool:
    """Full reorder: rebuild the committed cache from the branch, prefix and path in one gather.

    Returns:
        Whether positions 0..L-1 stayed in order.

    Raises:
        ContractError: A position outside the branch; the device would read outside the cache, unchecked.
    """
    committed_len = main.get_seq_length()
    order = np.concatenate([np.arange(committed_len), path_indices]).astype(np.int64)
    num_rows = min(branch.lengths)
    if order.min(initial=0) < 0 or order.max(initial=0) >= num_rows:
        raise ContractError(
            operator="index_select",
            rule="CACHE-PATH-RANGE",
            argument="path_indices",
            value=f"{path_indices.tolist()}",
            expected=f"0 to {num_rows - 1}",
            device="reads outside the cache, unchecked",
            source="index_select page of the operator library",
        )
    gathered = branch.gather(order)
    main.truncate(0)
    main.append(gathered)
    return bool(np.array_equal(order[:committed_len], np.arange(committed_len)))
