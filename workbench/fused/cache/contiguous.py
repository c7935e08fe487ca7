"""A cache of the transformers Cache API whose rows lie behind each other, one token per row."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from workbench.fused.cache.pages import Pages
from workbench.fused.cache.rows import RowCache, RowLayer

_SPARE_ROWS: Final = 256


class ContiguousLayer(RowLayer):  # type: ignore[no-untyped-call]  # the library's hook for subclasses
    """Keys and values of one layer, a part `[2, capacity, H_kv, D]` of its cache's buffer.

    In memory a row is `[H_kv, D]`, so that any leading part of the cache is contiguous in the operator's BSND
    layout. `keys` and `values` show the rows in use in the library's form `[1, H_kv, length, D]`, as views.
    """

    def __init__(self, buffer: _Buffer, index: int) -> None:
        self._buffer = buffer
        self._index = index
        super().__init__()

    @property
    def keys(self) -> Tensor | None:
        """Keys in use, `[1, H_kv, length, D]`."""
        return self._view(0)

    @keys.setter
    def keys(self, _: Tensor | None) -> None:
        """The library begins with None, and so does an empty buffer."""

    @property
    def values(self) -> Tensor | None:
        """Values in use, `[1, H_kv, length, D]`."""
        return self._view(1)

    @values.setter
    def values(self, _: Tensor | None) -> None:
        """As for `keys`."""

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        *_: Any,
        **__: Any,
    ) -> tuple[Tensor, Tensor]:
        """Append states `[1, H_kv, S, D]`; return all keys and values, `[1, H_kv, length, D]`."""
        start, stop = self._length, self._length + key_states.shape[2]
        memory = self._reserve(stop, key_states.transpose(1, 2)[0])
        memory[0, start:stop] = key_states[0].transpose(0, 1)
        memory[1, start:stop] = value_states[0].transpose(0, 1)
        self._length = stop
        used = memory[:, :stop].transpose(1, 2)
        return used[:1], used[1:]

    def append_rows(self, rows: Tensor) -> None:
        """Append rows `[2, R, H_kv, D]`, keys then values."""
        stop = self._length + rows.shape[1]
        self._reserve(stop, rows[0])[:, self._length : stop] = rows
        self._length = stop

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows start..stop-1 as a view `[2, R, H_kv, D]`.

        Raises:
            ValueError: The layer holds nothing yet.
        """
        return self._held()[:, : self._length][:, start:stop]

    def select(self, index: Tensor) -> Tensor:
        """Copy rows `[2, R, H_kv, D]` by position, int64 `[R]`."""
        return self.rows(0, self._length).index_select(1, index)

    def _view(self, part: int) -> Tensor | None:
        if self._memory is None:
            return None
        return self._memory[part, : self._length].transpose(0, 1)[None]

    def _reserve(self, length: int, row: Tensor) -> Tensor:
        if self._memory is None or self._memory.shape[1] < length:
            self._buffer.grow(length, row)
        return self._held()

    def lie_in(self, memory: Tensor) -> None:
        """Take this layer's part of the cache's buffer `[layers, 2, capacity, H_kv, D]`."""
        self._memory = memory[self._index]
        self.dtype, self.device, self.is_initialized = memory.dtype, memory.device, True


class _Span(NamedTuple):
    """Views of the rows that one forward appends, made for all layers at once.

    Attributes:
        start, stop: Which rows are appended.
        new: Where keys and values go, `[R, H_kv, D]`, layer by layer, keys before values.
        used: All rows up to `stop`, `[1, stop, H_kv, D]`, likewise.
    """

    start: int
    stop: int
    new: tuple[Tensor, ...]
    used: tuple[Tensor, ...]


class _Buffer:
    """One growing buffer for all layers, so that a path is moved in one go and not layer by layer."""

    def __init__(self, num_layers: int) -> None:
        self.memory: Tensor | None = None
        self._span: _Span | None = None
        self.layers = [ContiguousLayer(self, index) for index in range(num_layers)]

    def grow(self, length: int, row: Tensor) -> None:
        """Have memory for at least `length` rows shaped like `row[0]`; rows in use are kept."""
        shape = (len(self.layers), 2, length + length // 4 + _SPARE_ROWS, *row.shape[1:])
        # An ordinary tensor, not an inference tensor: whoever debugs a cache may write into it.
        with torch.inference_mode(mode=False):
            grown = _zeros(shape, row)
            if self.memory is not None:
                grown[:, :, : self.memory.shape[2]] = self.memory
        self.lie_in(grown)

    def lie_in(self, memory: Tensor) -> None:
        """Take `[layers, 2, capacity, H_kv, D]` as the memory of all layers."""
        self.memory, self._span = memory, None
        for layer in self.layers:
            layer.lie_in(memory)

    def span(self, start: int, stop: int, row: Tensor) -> _Span:
        """Return the views for rows start..stop-1, shaped like `row[0]`; made once a forward."""
        if self.memory is None or self.memory.shape[2] < stop:
            self.grow(stop, row)
        assert self.memory is not None
        if self._span is None or (self._span.start, self._span.stop) != (start, stop):
            parts = self.memory.flatten(0, 1)
            self._span = _Span(start, stop, parts[:, start:stop].unbind(0), parts[:, None, :stop].unbind(0))
        return self._span


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return zeros; on a CPU in memory that the system hands out, zeroed, as rows are first written to."""
    if like.device.type != "cpu":
        return torch.zeros(shape, dtype=like.dtype, device=like.device)
    memory = np.zeros(math.prod(shape) * like.element_size(), dtype=np.uint8)
    return torch.from_numpy(memory).view(like.dtype).view(shape)


class ContiguousCache(RowCache):
    """A cache of contiguous layers, empty at first."""

    def __init__(self, num_layers: int) -> None:
        self._buffer = _Buffer(num_layers)
        super().__init__(layers=[*self._buffer.layers])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the cache with memory of its own.

        The memory is cloned, not deep-copied: torch_npu replaces how tensors are deep-copied, by code that
        torch warns of.
        """
        copied = self.sibling()
        memo[id(self)] = copied
        if self._buffer.memory is not None:
            copied._buffer.lie_in(self._buffer.memory.clone())  # noqa: SLF001  # of its own class
        for layer, own in zip(copied.rows_by_layer, self.rows_by_layer, strict=True):
            layer.truncate(own.get_seq_length())
        return copied

    def sibling(self) -> Self:
        """Return an empty cache with as many layers."""
        return type(self)(len(self.layers))

    def write(
        self,
        layer_idx: int,
        key: Tensor,
        value: Tensor,
        pages: Pages | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Append rows to one layer; see `RowCache`."""
        layer = self._buffer.layers[layer_idx]
        start = layer.get_seq_length()
        span, place = self._buffer.span(start, start + len(key), key), 2 * layer_idx
        span.new[place].copy_(key)
        span.new[place + 1].copy_(value)
        layer.truncate(span.stop)
        return span.used[place], span.used[place + 1]

    def append(self, rows: Tensor) -> None:
        """Append rows `[layers, 2, R, H_kv, D]`."""
        lengths = self.lengths
        stop = lengths[0] + rows.shape[2]
        if len(set(lengths)) > 1:
            super().append(rows)
            return
        if self._buffer.memory is None or self._buffer.memory.shape[2] < stop:
            self._buffer.grow(stop, rows[0, 0])
        assert self._buffer.memory is not None
        self._buffer.memory[:, :, lengths[0] : stop] = rows
        self.truncate(stop)

    def append_from(self, source: RowCache, start: int, stop: int | None = None) -> None:
        """Append rows start..stop-1 of another cache; up to its end when `stop` is None."""
        lengths = set(source.lengths)
        memory = source._buffer.memory if isinstance(source, ContiguousCache) else None  # noqa: SLF001
        if memory is None or len(lengths) > 1:
            super().append_from(source, start, stop)
        else:
            self.append(memory[:, :, start : lengths.pop() if stop is None else stop])

    def _select(self, index: Tensor) -> Tensor:
        if self._buffer.memory is None:
            return super()._select(index)
        return self._buffer.memory[:, :, : min(self.lengths)].index_select(2, index)  # no row out of use
