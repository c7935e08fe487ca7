"""What the stages of one path share: teacher, drafter, settings and switches. Never changed by a stage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tracing.sampling import Chooser
from tracing.settings import DecodeSettings
from tracing.stages import IntArray, StageWatch
from workbench.fused.attention import AttentionCall
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.cache.manager import CacheManager
from workbench.fused.cache.paged import PagedCache, write_eager, write_fused
from workbench.fused.cache.pages import BlockTable
from workbench.fused.cache.rows import RowCache
from workbench.fused.drafters.seam import Drafter
from workbench.fused.drafters.static_tree import StaticTree
from workbench.fused.linear import Products
from workbench.fused.originals import Originals
from workbench.fused.seen import Seen
from workbench.fused.state import FusedState
from workbench.fused.step_inputs import StepInputs
from workbench.fused.switches import Switches
from workbench.fused.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Engine:
    """The fixed parts of a fused path.

    Attributes:
        dtype: Of weights and caches.
        vocab_size: V; token ids are below it.
        max_positions: Positions that the teacher was made for.
        eos_token_ids: Tokens that end a turn.
        pad_token_id: Token of padded rows; any legal id, its row is cut off from everything.
        replication: How the committed cache is replicated, see `CacheManager`.
        originals: The weights that it was built from.
        products: How the products hold theirs.
    """

    teacher: Teacher
    drafter: Drafter
    settings: DecodeSettings
    switches: Switches
    device: torch.device
    dtype: torch.dtype
    originals: Originals
    products: Products
    vocab_size: int
    max_positions: int
    eos_token_ids: frozenset[int] = frozenset()
    pad_token_id: int = 0
    replication: str = "incremental"

    @property
    def static_tree(self) -> StaticTree | None:
        """Tables of the tree that the drafter lays out at every step; None where trees differ."""
        static: StaticTree | None = getattr(self.drafter, "tree", None)
        return static

    def begin(self, watch: StageWatch, chooser: Chooser | None = None) -> FusedState:
        """Return a fresh state that reports to `watch`; greedy without a chooser.

        Raises:
            UsageError: Weights were changed since the path was built.
        """
        self.originals.require_unchanged()
        return FusedState(watch, self.new_caches(), self.drafter.begin(), chooser, self._step_inputs())

    def _step_inputs(self) -> StepInputs | None:
        """Return buffers for a drafter whose trees are all alike, None for others."""
        if self.static_tree is None:
            return None
        num_rows, paged = self.settings.tree_nodes, self.settings.kv_layout == "paged"
        return StepInputs.of(
            num_rows,
            self.max_positions + num_rows,
            self.teacher.windows,
            self.settings.block_size if paged else 0,
            self.device,
        )

    def new_caches(self) -> CacheManager:
        """Return empty teacher caches."""
        return CacheManager(self._new_cache(), self.replication)

    def _new_cache(self) -> RowCache:
        num_layers = self.teacher.num_layers
        if self.settings.kv_layout == "contiguous":
            return ContiguousCache(num_layers)
        write = write_eager if "scatter" in self.switches.eager else write_fused
        return PagedCache(num_layers, BlockTable(self.settings.block_size), write, self.device)

    def attention_call(
        self, *, tree: bool = False, causal: bool = False, seen: Seen | None = None
    ) -> AttentionCall:
        """Return how a forward runs its attention under the switches."""
        return AttentionCall(fused=self.switches.fused_attention(tree=tree), causal=causal, seen=seen)

    def to_device(self, array: IntArray) -> Tensor:
        """Return host integers as int64 on the device."""
        return torch.from_numpy(array).to(self.device)
