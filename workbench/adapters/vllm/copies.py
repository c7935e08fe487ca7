"""Copies of an engine's tensors to the host that never wait for the device."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workbench.adapters.vllm.patches import Meter


class HostCopy:
    """A tensor as it is at this point of the engine's stream.

    On a device it is cloned there, as the engine overwrites its buffers with the next launch, and brought to
    pinned memory on a side stream; only `array` waits, and is called when the engine has its own results.

    Args:
        tensor: Any device.
    """

    __slots__ = ("_event", "_host", "_source")

    def __init__(self, tensor: Any) -> None:
        self._event: Any = None
        self._source = self._host = tensor.clone()
        if tensor.is_cpu:
            return
        import torch

        device = torch.get_device_module(tensor.device)
        ready = device.Event()
        ready.record()
        side = _side_stream(device, tensor.device)
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
        with device.stream(side):
            side.wait_event(ready)
            self._host.copy_(self._source, non_blocking=True)
            self._event = device.Event()
            self._event.record(side)

    @property
    def is_there(self) -> bool:
        """Whether `array` would not wait."""
        return self._event is None or bool(self._event.query())

    def array(self) -> NDArray[Any]:
        """Return the values; waits for their copy alone."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        self._source = None
        values: NDArray[Any] = self._host.detach().numpy()
        return values


class BestLater:
    """The best logits of each row, of logits on the host: looked for when they are asked for.

    Args:
        logits: `[R, V]`; cloned, since a sampler may work in place.
        number: How many of each row.
    """

    __slots__ = ("_found", "_logits", "_number")

    def __init__(self, logits: Any, number: int) -> None:
        self._logits, self._number, self._found = _in_buffer(logits), number, None

    def array(self, which: str) -> NDArray[Any]:
        """Return `indices` or `values`, `[R, number]`."""
        if self._found is None:
            self._found = self._logits.detach().float().topk(self._number, dim=-1)
            if self._logits.numel() > SMALL:
                _buffers.append(self._logits)
            self._logits = None
        values: NDArray[Any] = getattr(self._found, which).numpy()
        return values


SMALL: Final = 1 << 16
_buffers: deque[Any] = deque(maxlen=4)
"""Memory that is free again: new memory costs more than what is copied into it."""


def _in_buffer(logits: Any) -> Any:
    """Return a copy of logits, in memory of an earlier one where that is large enough."""
    size = logits.numel()
    while size > SMALL and _buffers:
        buffer = _buffers.popleft()
        if buffer.dtype == logits.dtype and buffer.untyped_storage().nbytes() >= size * buffer.element_size():
            return buffer.as_strided(logits.shape, (logits.shape[-1], 1), 0).copy_(logits)
    return logits.clone()


class HalfOfBest:
    """Ids or values of the best logits.

    Args:
        best: Both.
        which: `indices` or `values`.
    """

    __slots__ = ("_best", "_which")
    is_there = True

    def __init__(self, best: BestLater, which: str) -> None:
        self._best, self._which = best, which

    def array(self) -> NDArray[Any]:
        """Return the values, `[R, number]`."""
        return self._best.array(self._which)


AnyCopy = HostCopy | HalfOfBest


def copies_of(*tensors: Any) -> tuple[HostCopy, ...]:
    """Return copies of tensors, and count the time of their clones as a device's."""
    started = time.thread_time_ns()
    copies = tuple(map(HostCopy, tensors))
    Meter.device_nanoseconds += time.thread_time_ns() - started
    return copies


def best_of(logits: Any, number: int) -> tuple[AnyCopy, AnyCopy]:
    """Return ids and values of the best logits of each row, taken on the device."""
    started = time.thread_time_ns()
    number = min(number, logits.shape[-1])
    ids: AnyCopy
    values: AnyCopy
    if logits.is_cpu:
        later = BestLater(logits, number)
        ids, values = HalfOfBest(later, "indices"), HalfOfBest(later, "values")
    else:
        best = logits.float().topk(number, dim=-1)
        ids, values = HostCopy(best.indices), HostCopy(best.values)
    Meter.device_nanoseconds += time.thread_time_ns() - started
    return ids, values


_side_streams: dict[str, Any] = {}


def _side_stream(device: Any, where: Any) -> Any:
    key = str(where)
    if key not in _side_streams:
        _side_streams[key] = device.Stream(where)
    return _side_streams[key]


def as_array(value: Any) -> NDArray[Any]:
    """Return what is on the host already; waits for the rest."""
    return value.array() if isinstance(value, AnyCopy) else np.asarray(value)
