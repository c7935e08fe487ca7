"""What every cache of this path does, wherever its rows lie in memory."""

from __future__ import annotations

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
    def _reserve(self, length: int, row: Tensor) -> Tensor:
        """Return memory for at least `length` rows shaped like `row[0]`, rows in use kept."""

    def _held(self) -> Tensor:
        if self._memory is None:
            raise ValueError("rows of an empty cache layer")
        return self._memory

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:  # noqa: ARG002  # API
        """Take dtype, device and head shape from the first states `[1, H_kv, S, D]`."""
        self._reserve(key_states.shape[2], key_states.transpose(1, 2)[0])

    def truncate(self, length: int) -> None:
        """Keep the first `length` rows; what lies behind them is dead."""
        self._length = length

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

    @abstractmethod
    def write(
        self, layer_idx: int, key: Tensor, value: Tensor, pages: Pages | None = None
    ) -> tuple[Tensor, Tensor]:
        """Append rows `[R, H_kv, D]` to one layer; return its keys and values as attention takes them.

        Returns:
            Two `[1, length, H_kv, D]`; of a paged cache all blocks, `[blocks, block_size, H_kv * D]`.
        """

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append states `[1, H_kv, S, D]` to one layer, as the library calls it."""
        return self.rows_by_layer[layer_idx].update(key_states, value_states, *args, **kwargs)

    def gather(self, positions: IntArray) -> Tensor:
        """Copy rows at `positions` `[R]` of every layer, `[layers, 2, R, H_kv, D]`.

        Raises:
            IndexError: A position without a row.
        """
        if len(positions) and (positions.min() < 0 or positions.max() >= min(self.lengths)):
            raise IndexError(
                f"rows {int(positions.min())} to {int(positions.max())} of a cache of {min(self.lengths)}"
            )
        on_host = torch.from_numpy(np.ascontiguousarray(self.places(positions)))
        return self._select(on_host.to(cast("Any", self.rows_by_layer[0]).device))

    def append(self, rows: Tensor) -> None:
        """Append rows `[layers, 2, R, H_kv, D]`."""
        for layer, own in zip(self.rows_by_layer, rows, strict=True):
            layer.append_rows(own)

    def append_from(self, source: RowCache, start: int, stop: int | None = None) -> None:
        """Append rows start..stop-1 of another cache, layer by layer; up to its end when `stop` is None."""
        for layer, other in zip(self.rows_by_layer, source.rows_by_layer, strict=True):
            layer.append_rows(other.rows(start, other.get_seq_length() if stop is None else stop))

    def _select(self, index: Tensor) -> Tensor:
        """Copy rows by places `[R]`, `[layers, 2, R, H_kv, D]`."""
        return torch.stack([layer.select(index) for layer in self.rows_by_layer])
