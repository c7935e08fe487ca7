"""Settings of the process that a port may change and the reference reads: each side has its own.

A port that makes bfloat16 torch's default dtype, or turns warnings into errors, finds that again in its next
stage. In between, the reference runs with what the process had before.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch

Setting = tuple[Callable[[], Any], Callable[[Any], Any]]


def _device() -> Any:
    return torch.get_default_device()


def _set_device(device: Any) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_filters(filters: Any) -> None:
    warnings.filters[:] = filters  # type: ignore[index]  # a list, whatever typeshed says
    warnings._filters_mutated()  # type: ignore[attr-defined]  # noqa: SLF001  what `catch_warnings` calls


def _set_folder(folder: str) -> None:
    if folder:
        os.chdir(folder)


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  text, and may be gone
    except OSError:
        return ""


SETTINGS: Final[Mapping[str, Setting]] = {
    "dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "device": (_device, _set_device),
    "grad": (torch.is_grad_enabled, torch.set_grad_enabled),
    "threads": (torch.get_num_threads, torch.set_num_threads),
    "matmul": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "numpy": (np.geterr, lambda how: np.seterr(**how)),
    "warnings": (lambda: list(warnings.filters), _set_filters),
    "recursion": (sys.getrecursionlimit, sys.setrecursionlimit),
    "folder": (_folder, _set_folder),
}
"""How each is read and set."""


class ProcessSettings:
    """The settings of code under test between two of its calls."""

    def __init__(self) -> None:
        self._theirs: dict[str, Any] = {}
        self._ours: dict[str, Any] = {}

    @contextmanager
    def of_user_code(self) -> Iterator[None]:
        """Run with the settings that the code under test left last; restore those of the workbench after."""
        self._ours = ours = _read()
        _change(ours, self._theirs)
        try:
            yield
        finally:
            self._theirs = _read()
            _change(self._theirs, ours)

    @contextmanager
    def of_workbench(self) -> Iterator[None]:
        """Run with the settings of the workbench inside a call of the code under test."""
        theirs = _read()
        _change(theirs, self._ours)
        try:
            yield
        finally:
            _change(self._ours, theirs)


def _read() -> dict[str, Any]:
    return {name: read() for name, (read, _) in SETTINGS.items()}


def _change(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if now[name] != value:
            SETTINGS[name][1](value)
