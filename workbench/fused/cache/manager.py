"""Branch and commit over the transformers Cache API (arXiv 2603.08088, section 3.1).

`main_cache` holds the committed prefix and is never written by a tree forward. A step replicates it into
`branch_caches`, extends a branch, and adopts the accepted path from there.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch

from tracing.settings import REPLICATIONS, require_one_of
from tracing.stages import IntArray
from workbench.fused.cache.reorder import append_path, append_slice, gather_all, why_not_fast, why_not_length
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

    def slots(self, positions: IntArray) -> IntArray | None:
        """Return the slot of each cache position `[R]`, in main and branches alike; None if unpaged."""
        return self.main_cache.slots(positions)

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
            self._catch_up(branch)
        self.num_shared = self.committed_len
        return self.branch_caches

    def _catch_up(self, branch: RowCache) -> None:
        """Drop the branch's tree rows and copy the rows that main has committed since."""
        branch.truncate(self.num_shared)
        branch.append_from(self.main_cache, self.num_shared)

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
            append_slice(self.main_cache, taken, len(path_indices))
        elif mode == "fast_reorder" and why_not is None:
            append_path(self.main_cache, taken, path_indices)
        else:
            prefix_kept = gather_all(self.main_cache, taken, path_indices)
            return CommitOutcome("full_reorder", why_not, prefix_kept)
        return CommitOutcome(mode, None, prefix_kept=True)

    def _why_not(
        self, taken: RowCache, path_indices: IntArray, mode: str, *, fast_allowed: bool
    ) -> str | None:
        if mode == "length":
            return why_not_length(self.main_cache, taken, path_indices)
        if mode == "fast_reorder":
            return (
                why_not_fast(self.main_cache, taken, path_indices)
                if fast_allowed
                else "EA_FAST_CACHE_REORDER=0"
            )
        return None
