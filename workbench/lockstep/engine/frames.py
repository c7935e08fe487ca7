"""Where in the code under test something happened: `file:line in function: code`."""

from __future__ import annotations

import linecache
import os
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

MAX_FRAMES: Final = 8
MAX_CODE: Final = 160
_ROOT: Final = str(Path(__file__).resolve().parents[3]) + os.sep
_OURS: Final = tuple(_ROOT + room + os.sep for room in ("workbench/lockstep", "tracing", "invariants"))
_LIBRARIES: Final = (
    sysconfig.get_paths()["stdlib"] + os.sep,
    *(os.sep + folder + os.sep for folder in ("site-packages", "dist-packages")),
)


def frames_of_traceback(error: BaseException) -> tuple[str, ...]:
    """Return the frames of the code under test that an exception came through, the innermost last."""
    traceback = BaseException.__dict__["__traceback__"].__get__(error)
    places = []
    while traceback is not None:
        places.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return described(places)


def frames_of_stack(frame: FrameType | None) -> tuple[str, ...]:
    """Return the frames of the code under test in a thread that is still running, the innermost last."""
    places: list[tuple[CodeType, int]] = []
    while frame is not None:
        places.append((frame.f_code, frame.f_lineno or 0))
        frame = frame.f_back
    return described(places[::-1])


def described(places: Iterable[tuple[CodeType, int]]) -> tuple[str, ...]:
    """Return the user's own places as text; those of libraries where there is no other; the last few."""
    foreign = [each for each in places if not each[0].co_filename.startswith((*_OURS, "<frozen"))]
    own = [each for each in foreign if not any(library in each[0].co_filename for library in _LIBRARIES)]
    return tuple(_text(*each) for each in (own or foreign)[-MAX_FRAMES:])


def _text(code: CodeType, line: int) -> str:
    source = linecache.getline(code.co_filename, line).strip()[:MAX_CODE]
    place = f"{_short(code.co_filename)}:{line} in {code.co_name}"
    return f"{place}: {source}" if source else place


def _short(filename: str) -> str:
    """Return a file's name as seen from the working directory, where it lies below."""
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118  text against text
    return filename.removeprefix(here)
