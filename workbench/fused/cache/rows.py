"""What every cache of this path does, wherever its rows lie in memory."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from tracing.stages import IntArray
from workbench.fused.cache.pages import Pages


class RowLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, one token per row; row r belongs to logical position r."""

    is_sliding = False
    is_compileable = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._memory: Tensor | None = None
        self._length = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the layer with memory of its own.

        The memory is cloned, not deep-copied: torch_npu replaces how tensors are deep-copied, by code that
        torch warns of.
        """
        copied = copy.copy(self)
        memo[id(self)] = copied
        for name, value in vars(self).items():
            if not isinstance(value, Tensor):
                setattr(copied, name, copy.deepcopy(value, memo))
        if self._memory is not None:
            copied._memory = self._memory.clone()  # noqa: SLF001  # of its own class
        copied.truncate(self._length)
        return copied

    @abstractmethod
    def append_rows(self, rows: Tensor) -> None:
        """Append rows `[2, R, H_kv, D]`, keys then values."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows start..stop-1, `[2, R, H_kv, D]`.

        Raises:
            ValueError: The layer holds nothing yet.
        """

    @abstractmethod
    def select(self, index: Tensor) -> Tensor:
        """Copy rows `[2, R, H_kv, D]` by places `[R]` in this layer's memory (see `RowCache.places`)."""

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Keep the first `length` rows; what lies behind them is dead."""

    def get_seq_length(self) -> int:
        """Return the number of rows in use."""
        return self._length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return KV length after `query_length` more rows, and the offset of the first row."""
        return self._length + int(query_length), 0

    def get_max_length(self) -> int:
        """Return -1: no limit."""
        return -1

    get_max_cache_shape = get_max_length  # its name in earlier releases of transformers 5

    def reset(self) -> None:
        """Forget all rows."""
        self.truncate(0)


class RowCache(Cache):
    """A cache of row layers, empty at first."""

    @property
    def rows_by_layer(self) -> list[RowLayer]:
        """The layers, by their own type."""
        return cast("list[RowLayer]", self.layers)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows in use of each layer."""
        return tuple(layer.get_seq_length() for layer in self.rows_by_layer)

    @abstractmethod
    def sibling(self) -> Self:
        """Return an empty cache of the same kind with memory of its own."""

    def pages(self, num_rows: int) -> Pages | None:  # noqa: ARG002  # for caches that have pages
        """Return how a forward of `num_rows` rows reaches this cache; None where rows lie in order."""
        return None

    def slots(self, positions: IntArray) -> IntArray | None:  # noqa: ARG002
        """Return the physical slot of each logical position `[R]`, None where there are no slots."""
        return None

    def mask_width(self, num_rows: int) -> int:
        """Return how many columns the mask of a forward of `num_rows` rows has."""
        return int(self.get_seq_length()) + num_rows

    def places(self, positions: IntArray) -> IntArray:
        """Return where rows `positions` `[R]` lie in each layer's memory, for `RowLayer.select`."""
        return positions

    def truncate(self, length: int) -> None:
        """Keep the first `length` rows of every layer."""
        for layer in self.rows_by_layer:
            layer.truncate(length)

    def gather(self, positions: IntArray) -> list[Tensor]:
        """Copy rows at `positions` `[R]` of each layer, `[2, R, H_kv, D]`.

        Raises:
            IndexError: A position without a row.
        """
        if len(positions) and (positions.min() < 0 or positions.max() >= min(self.lengths)):
            raise IndexError(
                f"rows {int(positions.min())} to {int(positions.max())} of a cache of {min(self.lengths)}"
            )
        on_host = torch.from_numpy(np.ascontiguousarray(self.places(positions)))
        index = on_host.to(cast("Any", self.rows_by_layer[0]).device)
        return [layer.select(index) for layer in self.rows_by_layer]
