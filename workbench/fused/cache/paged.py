"""A cache layer of the transformers Cache API whose rows lie in blocks, found through a block table."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tracing.stages import IntArray
from workbench.fused.cache.pages import BlockTable, Pages
from workbench.fused.cache.rows import RowCache, RowLayer
from workbench.npu import dispatch

WriteRows = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]
"""Takes keys and values `[R, H_kv, D]`, both caches `[blocks, block_size, H_kv, D]`, and slots `[R]`."""


def write_fused(key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slots: Tensor) -> None:
    """Write rows at their slots through the operator; an ND cache has to be named, NZ is its default."""
    dispatch.npu_scatter_pa_kv_cache(key, value, key_cache, value_cache, slots, cache_mode="Norm")


def write_eager(key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slots: Tensor) -> None:
    """Write rows at their slots with plain indexing."""
    key_cache.view(-1, *key.shape[1:])[slots] = key
    value_cache.view(-1, *value.shape[1:])[slots] = value


class PagedLayer(RowLayer):  # type: ignore[no-untyped-call]  # the library's hook for subclasses
    """Keys and values of one layer in one growing pool `[2, blocks, block_size, H_kv, D]`.

    The writing operator sees `[blocks, block_size, H_kv, D]`, attention the same memory as
    `[blocks, block_size, H_kv * D]`; a fourth axis would mean heads before block there. The library's `keys`
    and `values` stay None: no view can show rows in order.
    """

    def __init__(self, table: BlockTable, write: WriteRows) -> None:
        super().__init__()
        self._table = table
        self._write = write

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the layer with memory of its own.

        The memory is cloned, not deep-copied: torch_npu replaces how tensors are deep-copied, by code that
        torch warns of.
        """
        copied = copy.copy(self)
        memo[id(self)] = copied
        copied._table = copy.deepcopy(self._table, memo)  # noqa: SLF001  # of its own class
        if self._memory is not None:
            copied._memory = self._memory.clone()  # noqa: SLF001
        return copied

    def update(
        self, key_states: Tensor, value_states: Tensor, pages: Pages | None = None, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """As `write`, of states `[1, H_kv, S, D]`."""
        key, value = (states[0].transpose(0, 1) for states in (key_states, value_states))
        return self.write(key, value, pages)

    def write(self, key: Tensor, value: Tensor, pages: Pages | None) -> tuple[Tensor, Tensor]:
        """Write rows `[R, H_kv, D]` at the slots of `pages`; return both as attention takes them.

        Returns:
            Two `[blocks, block_size, H_kv * D]`, all blocks.
        """
        pool = self._append(key.contiguous(), value.contiguous(), None if pages is None else pages.slots)
        return pool[0].flatten(2), pool[1].flatten(2)

    def append_rows(self, rows: Tensor) -> None:
        """Append rows `[2, R, H_kv, D]`, keys then values."""
        if rows.shape[1]:
            self._append(rows[0].contiguous(), rows[1].contiguous(), None)

    def rows(self, start: int, stop: int) -> Tensor:
        """Copy rows start..stop-1 in logical order, `[2, R, H_kv, D]`.

        Raises:
            ValueError: The layer holds nothing yet.
        """
        positions = np.arange(start, min(stop, self._length))
        return self.select(torch.from_numpy(self._table.slots(positions)).to(self._held().device))

    def select(self, index: Tensor) -> Tensor:
        """Copy rows `[2, R, H_kv, D]` by slot, int64 `[R]`.

        Raises:
            ValueError: The layer holds nothing yet.
        """
        return self._held().flatten(1, 2).index_select(1, index)

    def _append(self, key: Tensor, value: Tensor, slots: Tensor | None) -> Tensor:
        """Write `[R, H_kv, D]` behind the rows in use, at their own slots unless others are given."""
        stop = self._length + key.shape[0]
        pool = self._reserve(stop, key)
        if slots is None:
            slots = torch.from_numpy(self._table.slots(np.arange(self._length, stop))).to(key.device)
        self._write(key, value, pool[0], pool[1], slots)
        self._length = stop
        return pool

    def _reserve(self, length: int, row: Tensor) -> Tensor:
        """Return a pool with the table's blocks, at least `length` rows of them, written ones kept."""
        self._table.reserve(length)
        num_blocks, size = len(self._table.block_ids), self._table.block_size
        if self._memory is not None and self._memory.shape[1] >= num_blocks:
            return self._memory
        # An ordinary tensor, not an inference tensor: whoever debugs a cache may write into it.
        with torch.inference_mode(mode=False):
            grown = torch.zeros((2, num_blocks, size, *row.shape[1:]), dtype=row.dtype, device=row.device)
            if self._memory is not None:
                grown[:, : self._memory.shape[1]] = self._memory
        self._memory, self.dtype, self.device, self.is_initialized = grown, row.dtype, row.device, True
        return grown


class PagedCache(RowCache):
    """A cache of paged layers, empty at first; siblings have pools of their own and share one block table.

    Attributes:
        table: The block table of the sequence.
    """

    def __init__(self, num_layers: int, table: BlockTable, write: WriteRows, device: torch.device) -> None:
        super().__init__(layers=[PagedLayer(table, write) for _ in range(num_layers)])
        self.table = table
        self._write = write
        self._device = device

    def sibling(self) -> Self:
        """Return an empty cache with a pool of its own, in which every position has the same slot."""
        return type(self)(len(self.layers), self.table, self._write, self._device)

    def write(
        self, layer_idx: int, key: Tensor, value: Tensor, pages: Pages | None = None
    ) -> tuple[Tensor, Tensor]:
        """Write rows at the slots of `pages`, behind the rows in use without; see `RowCache`."""
        layer = self.layers[layer_idx]
        assert isinstance(layer, PagedLayer)
        return layer.write(key, value, pages)

    def pages(self, num_rows: int) -> Pages:
        """Return the table and the slots of the next `num_rows` rows; the table has blocks for them."""
        start = int(self.get_seq_length())
        slots = self.slots(np.arange(start, start + num_rows))
        return Pages(
            block_table=self.table.on_device(self._device),
            block_size=self.table.block_size,
            slots=torch.from_numpy(slots).to(self._device),
            num_keys=start + num_rows,
        )

    def slots(self, positions: IntArray) -> IntArray:
        """Return the physical slot of each logical position `[R]`; the table grows as far as needed."""
        self.table.reserve(int(positions.max(initial=-1)) + 1)
        return self.table.slots(positions)

    def mask_width(self, num_rows: int) -> int:
        """Return table width times block size, which the operator demands of a paged mask."""
        self.table.reserve(int(self.get_seq_length()) + num_rows)
        return self.table.num_slots

    def places(self, positions: IntArray) -> IntArray:
        """Return the slots of rows `positions` `[R]`."""
        return self.table.slots(positions)
