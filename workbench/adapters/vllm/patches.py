"""Wrapping an engine's methods so that what is ours can never disturb what is its own."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

_log = logging.getLogger("specwb.vllm")
_said: set[str] = set()


class Meter:
    """What recording costs the engine's thread.

    Attributes:
        nanoseconds: Processor time of all hooks so far.
        device_nanoseconds: Of that, what a device does beside the thread, and a CPU in it: clones and top-K.
    """

    nanoseconds = 0
    device_nanoseconds = 0


Before = Callable[..., Any]
After = Callable[..., None]


def guarded(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `work` returns; None, and a log line once a sentence, where it fails."""
    started = time.thread_time_ns()
    result = quietly(work, *arguments)
    Meter.nanoseconds += time.thread_time_ns() - started
    return result


def quietly(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do the same beside the engine's thread, whose time it does not count."""
    try:
        return work(*arguments)
    except Exception as problem:  # noqa: BLE001 nothing of ours is raised into the engine
        sentence = f"{getattr(work, '__name__', 'a hook')}: {type(problem).__name__}: {problem}"
        if sentence not in _said and len(_said) < 100:
            _said.add(sentence)
            _log.warning("not recorded: %s", sentence)
        return None


def wrap(owner: type, name: str, before: Before | None = None, after: After | None = None) -> None:
    """Call `before(self, args, kwargs)` and `after(self, seen, result, args, kwargs)` around a method.

    `seen` is what `before` returned. The method's own arguments, result and exceptions are untouched; a
    method that is wrapped already stays as it is.
    """
    original = getattr(owner, name)
    if getattr(original, "specwb_owner", None) is owner:
        return

    @functools.wraps(original)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen = None if before is None else guarded(before, self, args, kwargs)
        result = original(self, *args, **kwargs)
        if after is not None:
            guarded(after, self, seen, result, args, kwargs)
        return result

    wrapped.specwb_owner = owner  # type: ignore[attr-defined]  # marks a function
    setattr(owner, name, wrapped)


def argument(method_args: Sequence[Any], kwargs: dict[str, Any], place: int, name: str) -> Any:
    """Return an argument that may come by place or by name."""
    return method_args[place] if len(method_args) > place else kwargs.get(name)


def parameters_of(owner: type, name: str) -> tuple[str, ...] | None:
    """Return the names of a method's parameters; None where there is no such method."""
    method = getattr(owner, name, None)
    return None if method is None else tuple(inspect.signature(method).parameters)
