"""Copies of an engine's tensors to the host that never wait for the device."""

from __future__ import annotations

import time
from typing import Any

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
        started = time.thread_time_ns()
        source = tensor.detach()
        self._event: Any = None
        self._source = source.clone()
        Meter.device_nanoseconds += time.thread_time_ns() - started
        if source.device.type == "cpu":
            self._host = self._source
            return
        import torch

        device = torch.get_device_module(source.device)
        ready = device.Event()
        ready.record()
        side = _side_stream(device, source.device)
        self._host = torch.empty(source.shape, dtype=source.dtype, device="cpu", pin_memory=True)
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
        values: NDArray[Any] = self._host.numpy()
        return values


def best_of(logits: Any, number: int) -> tuple[HostCopy, HostCopy]:
    """Return ids and values of the best logits of each row, taken on the device."""
    started = time.thread_time_ns()
    best = logits.float().topk(min(number, logits.shape[-1]), dim=-1)
    Meter.device_nanoseconds += time.thread_time_ns() - started
    return HostCopy(best.indices), HostCopy(best.values)


_side_streams: dict[str, Any] = {}


def _side_stream(device: Any, where: Any) -> Any:
    key = str(where)
    if key not in _side_streams:
        _side_streams[key] = device.Stream(where)
    return _side_streams[key]


def as_array(value: Any) -> NDArray[Any]:
    """Return a copy of what is on the host already."""
    return np.array(value.array() if isinstance(value, HostCopy) else value)
