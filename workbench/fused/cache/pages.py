"""Paged memory as the operators see it: which block holds which rows, and where a forward writes its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor

from tracing.errors import ContractError
from tracing.stages import IntArray

_LEAST_NEW_BLOCKS: Final = 4
_GROWTH: Final = 4
"""A table that is full grows by this fraction of itself."""


@dataclass(slots=True)
class BlockTable:
    """Which physical block holds which logical one, of one sequence.

    New blocks are handed out last first, so that no two neighbours lie in order: code that overlooks the
    table reads other rows, and it shows.

    Attributes:
        block_size: Tokens per block.
        block_ids: Physical block of each logical block; grows, and never changes what it has given out.
    """

    block_size: int
    block_ids: list[int] = field(default_factory=list)

    @property
    def num_slots(self) -> int:
        """Slots of all blocks."""
        return len(self.block_ids) * self.block_size

    def reserve(self, num_rows: int) -> None:
        """Have blocks for at least `num_rows` rows."""
        while self.num_slots < num_rows:
            start = len(self.block_ids)
            added = max(_LEAST_NEW_BLOCKS, start // _GROWTH)
            self.block_ids.extend(reversed(range(start, start + added)))

    def slots(self, positions: IntArray) -> IntArray:
        """Return the physical slot of each logical position, int64 `[R]`.

        Raises:
            ContractError: A position for which the table has no block.
        """
        if len(positions) and (positions.min() < 0 or positions.max() >= self.num_slots):
            raise ContractError(
                operator="block_table",
                rule="CACHE-TABLE-RANGE",
                argument="cache_positions",
                value=f"{int(positions.min())} to {int(positions.max())}",
                expected=f"0 to {self.num_slots - 1}",
                device="writes or reads outside the cache, unchecked",
                source="vllm-project/vllm#43810, a slot computed without the table",
            )
        block_ids = np.asarray(self.block_ids, dtype=np.int64)
        return block_ids[positions // self.block_size] * self.block_size + positions % self.block_size

    def on_device(self, device: torch.device) -> Tensor:
        """Return the operator's form, int32 `[1, width]`."""
        return torch.tensor([self.block_ids], dtype=torch.int32, device=device)


@dataclass(frozen=True, slots=True)
class Pages:
    """How one forward reaches a paged cache.

    Attributes:
        block_table: int32 `[1, width]`.
        block_size: Tokens per block.
        slots: Where the rows of this forward are written, int64 `[R]`.
        num_keys: Rows in use once they are written.
    """

    block_table: Tensor
    block_size: int
    slots: Tensor
    num_keys: int

    def in_order(self, blocks: Tensor, head_dim: int) -> Tensor:
        """Copy the rows in use out of their blocks, for operators that know no pages.

        Args:
            blocks: `[blocks, block_size, H_kv * D]`.
            head_dim: D.

        Returns:
            `[1, num_keys, H_kv, D]`.
        """
        positions = torch.arange(self.num_keys, device=blocks.device)
        block_ids = self.block_table[0].long().index_select(0, positions // self.block_size)
        rows = blocks.flatten(0, 1).index_select(0, block_ids * self.block_size + positions % self.block_size)
        return rows.view(1, self.num_keys, -1, head_dim)
