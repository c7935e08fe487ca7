"""A cache layer of the transformers Cache API whose rows lie behind each other, one token per row."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from workbench.fused.cache.rows import RowCache, RowLayer

_SPARE_ROWS = 256


class ContiguousLayer(RowLayer):  # type: ignore[no-untyped-call]  # the library's hook for subclasses
    """Keys and values of one layer in one growing buffer `[2, capacity, H_kv, D]`.

    In memory a row is `[H_kv, D]`, so that any leading part of the cache is contiguous in the operator's BSND
    layout. `keys` and `values` show the rows in use in the library's form `[1, H_kv, length, D]`, as views.
    """

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:  # noqa: ARG002  # API
        """Take dtype, device and head shape from the first states `[1, H_kv, S, D]`."""
        self._reserve(key_states.shape[2], key_states.transpose(1, 2)[0])

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        *_: Any,
        **__: Any,
    ) -> tuple[Tensor, Tensor]:
        """Append states `[1, H_kv, S, D]`; return all keys and values, `[1, H_kv, length, D]`."""
        start, stop = self._length, self._length + key_states.shape[2]
        buffer = self._reserve(stop, key_states.transpose(1, 2)[0])
        buffer[0, start:stop] = key_states[0].transpose(0, 1)
        buffer[1, start:stop] = value_states[0].transpose(0, 1)
        self.truncate(stop)
        used = buffer[:, :stop].transpose(1, 2)
        return used[:1], used[1:]

    def append_rows(self, rows: Tensor) -> None:
        """Append rows `[2, R, H_kv, D]`, keys then values."""
        stop = self._length + rows.shape[1]
        self._reserve(stop, rows[0])[:, self._length : stop] = rows
        self.truncate(stop)

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows start..stop-1 as a view `[2, R, H_kv, D]`.

        Raises:
            ValueError: The layer holds nothing yet.
        """
        if self._memory is None:
            raise ValueError("rows of an empty cache layer")
        return self._memory[:, : self._length][:, start:stop]

    def select(self, index: Tensor) -> Tensor:
        """Copy rows `[2, R, H_kv, D]` by position, int64 `[R]`."""
        return self.rows(0, self._length).index_select(1, index)

    def truncate(self, length: int) -> None:
        """Keep the first `length` rows; what lies behind them is dead."""
        self._length = length
        if self._memory is not None:
            used = self._memory[:, :length].transpose(1, 2)
            self.keys, self.values = used[:1], used[1:]

    def _reserve(self, length: int, row: Tensor) -> Tensor:
        """Return a buffer for at least `length` rows shaped like `row[0]`, rows in use kept."""
        if self._memory is not None and self._memory.shape[1] >= length:
            return self._memory
        # An ordinary tensor, not an inference tensor: whoever debugs a cache may write into it.
        with torch.inference_mode(mode=False):
            grown = torch.zeros(
                (2, length + length // 4 + _SPARE_ROWS, *row.shape[1:]), dtype=row.dtype, device=row.device
            )
            if self._memory is not None:
                grown[:, : self._length] = self._memory[:, : self._length]
        self._memory, self.dtype, self.device, self.is_initialized = grown, row.dtype, row.device, True
        return grown


class ContiguousCache(RowCache):
    """A cache of contiguous layers, empty at first."""

    def __init__(self, num_layers: int) -> None:
        super().__init__(layers=[ContiguousLayer() for _ in range(num_layers)])

    def sibling(self) -> Self:
        """Return an empty cache with as many layers."""
        return type(self)(len(self.layers))
