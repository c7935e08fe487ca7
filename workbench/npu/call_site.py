"""Where in the user's code an operator was called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Final

import torch

_TORCH: Final = Path(torch.__file__).parent
_SKIPPED: Final = tuple(
    f"{folder}{os.sep}" for folder in (_TORCH, _TORCH.with_name("torch_npu"), Path(__file__).parent)
)
"""Folders whose frames are not the caller's; the separator keeps `torchvision` and the like in."""
_PACKAGES: Final = ("site-packages", "dist-packages")


def call_site() -> str:
    """Return `file:line` of the innermost frame outside torch and this package, e.g. `port/verify.py:88`.

    Paths are short, so that a trace does not carry a machine's folders: relative to the working folder or
    to the installed packages, else the last two parts.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # inspect.stack reads source files at each call
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_SKIPPED):
            return f"{_short(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown:0"


def _short(file: str) -> str:
    path = Path(file)
    for name in _PACKAGES:
        if name in path.parts:
            return "/".join(path.parts[path.parts.index(name) + 1 :])
    if path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd()).as_posix()
    return "/".join(path.parts[-2:])
