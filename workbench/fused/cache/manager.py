"""Branch and commit over the transformers Cache API (arXiv 2603.08088, section 3.1).

`main_cache` holds the committed prefix and is never written by a tree forward. A step replicates it into
`branch_caches`, extends a branch, and adopts the accepted path from there.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch

from tracing.errors import ContractError
from tracing.settings import REPLICATIONS, require_one_of
from tracing.stages import IntArray
from workbench.fused.cache.rows import RowCache


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """What a commit did.

    Attributes:
        mode: `length`, `fast_reorder` or `full_reorder`.
        fallback: Why the asked mode did not run, or None.
        prefix_kept: Positions 0..L-1 kept in order.
    """

    mode: str
    fallback: str | None
    prefix_kept: bool


@dataclass(slots=True)
class CacheManager:
    """The committed cache and its replicas.

    Attributes:
        main_cache: Committed rows 0..L-1.
        replication: `deepcopy` copies the whole prefix each step; `incremental` only the rows that a branch
            lacks.
        branch_caches: Replicas of the last step, with their tree rows; memory of their own.
        num_shared: Leading rows in which every branch is known to equal main.
    """

    main_cache: RowCache
    replication: str = "incremental"
    branch_caches: list[RowCache] = field(default_factory=list)
    num_shared: int = 0

    def __post_init__(self) -> None:
        require_one_of("replication", self.replication, REPLICATIONS)

    @property
    def committed_len(self) -> int:
        """Rows of the committed cache."""
        return int(self.main_cache.get_seq_length())

    def replicate(self, num_branches: int = 1) -> list[RowCache]:
        """Return branches that equal main and share no memory with it or each other."""
        if self.replication == "deepcopy":
            with torch.inference_mode(mode=False):
                self.branch_caches = [copy.deepcopy(self.main_cache) for _ in range(num_branches)]
            return self.branch_caches
        if len(self.branch_caches) != num_branches:
            self.num_shared = 0
            self.branch_caches = [self.main_cache.sibling() for _ in range(num_branches)]
        for branch in self.branch_caches:
            branch.truncate(self.num_shared)
            branch.append_from(self.main_cache, self.num_shared)
        self.num_shared = self.committed_len
        return self.branch_caches

    def commit(
        self, path_indices: IntArray, mode: str, *, branch: int = 0, fast_allowed: bool = True
    ) -> CommitOutcome:
        """Adopt rows of a branch; whatever prevents the requested mode leads to the full reorder.

        Args:
            path_indices: Cache positions kept behind the prefix, root then accepted nodes, `[A + 1]`.
            mode: `length`, `fast_reorder` or `full_reorder`.
            branch: Which of `branch_caches`.
            fast_allowed: False is the paper's `EA_FAST_CACHE_REORDER=0`.

        Raises:
            ContractError: A position lies outside the branch.
        """
        taken = self.branch_caches[branch]
        why_not = self._why_not(taken, path_indices, mode, fast_allowed=fast_allowed)
        if mode == "length" and why_not is None:
            start = self.committed_len
            self.main_cache.append_from(taken, start, start + len(path_indices))
        elif mode == "fast_reorder" and why_not is None:
            self.main_cache.append(taken.gather(path_indices))
        else:
            prefix_kept = gather_all(self.main_cache, taken, path_indices)
            return CommitOutcome("full_reorder", why_not, prefix_kept)
        return CommitOutcome(mode, None, prefix_kept=True)

    def _why_not(
        self, taken: RowCache, path_indices: IntArray, mode: str, *, fast_allowed: bool
    ) -> str | None:
        if mode == "length":
            return why_not_length(self.main_cache, taken, path_indices)
        if mode == "fast_reorder" and not fast_allowed:
            return "EA_FAST_CACHE_REORDER=0"
        if mode == "fast_reorder":
            return why_not_fast(self.main_cache, taken, path_indices)
        return None


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
