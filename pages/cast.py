"""Records a session in a real terminal as an asciinema cast, for the README.

`python -m pages.cast docs/screens/first-fault.cast` records it again; `asciinema play FILE` shows it.
What each key led to is stamped with the time at which a person would have pressed it, so that the
recording does not depend on how busy the machine was.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COLUMNS, LINES = 110, 30
QUIET: Final = 1.0
"""Seconds without output after which a key has done its work."""
PATIENCE: Final = 3.0
"""Seconds to wait for the first output of a key."""
LONGEST: Final = 120.0
"""Seconds to wait for a program that starts or ends."""
TYPING: Final = 0.06
SHELL: Final = ("bash", "--norc", "--noprofile", "--noediting")
_TALK: Final = re.compile(r"\x1b\[\?\d+\$p|\x1b\[[<>=][0-9;]*[uq]|\x1b\[c|\x1b\]22;[^\x07]*\x07")
"""Questions to the terminal and settings of keyboard and mouse, of which a player knows nothing."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """What is typed.

    Attributes:
        text: The keys.
        look: Seconds to look at what it led to.
        until: Text that the terminal is told when the work is done; empty where quiet is enough.
    """

    text: str
    look: float
    until: str = ""


FIRST_FAULT: Final = (
    *(Stroke(each, TYPING) for each in "specwb check traces/sibling-leak"),
    Stroke("\n", 3.5, "$ "),
    *(Stroke(each, TYPING) for each in "specwb view traces/sibling-leak"),
    Stroke("\n", 2.5, "0:0:0"),
    Stroke("!", 4.0),
    Stroke("f", 4.0),
    Stroke("t", 3.0),
    Stroke("j", 0.7),
    Stroke("j", 2.0),
    Stroke("o", 2.5),
    Stroke("S", 2.5),
    Stroke("q", 1.0, "$ "),
)
"""From a broken run to the cell that is wrong, the rule, and the tree around it."""


def record(strokes: Sequence[Stroke], folder: Path, path: str) -> list[tuple[float, str]]:
    """Type into a shell in a terminal of its own.

    Args:
        strokes: What to type.
        folder: Where the shell runs.
        path: Its PATH.

    Returns:
        Seconds from the start, and what the terminal was told then.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        known = {
            "PATH": path,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            "PS1": "$ ",
        }
        os.execvpe(SHELL[0], SHELL, known)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    decoder, now, events = getincrementaldecoder("utf-8")("replace"), 0.5, [(0.0, "")]
    try:
        for stroke in (Stroke("", 0.5, "$ "), *strokes):
            os.write(terminal, stroke.text.encode())
            said = decoder.decode(_told(terminal, stroke))
            events.append((now, _TALK.sub("", said)))
            now += stroke.look
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    return [(round(at, 2), said) for at, said in events if said] + [(round(now, 2), "")]


def write_cast(events: Sequence[tuple[float, str]], file: Path, title: str) -> None:
    """Write events as an asciinema cast of version 2."""
    head = {
        "version": 2,
        "width": COLUMNS,
        "height": LINES,
        "title": title,
        "env": {"TERM": "xterm-256color"},
    }
    lines = [json.dumps(head), *(json.dumps([at, "o", said], ensure_ascii=False) for at, said in events)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _told(terminal: int, stroke: Stroke) -> bytes:
    """Return what the terminal is told until a stroke has done its work."""
    said, after = b"", TYPING if stroke.look <= TYPING else QUIET
    while True:
        waits = LONGEST if stroke.until.encode() not in said else after if said else PATIENCE
        if not select.select([terminal], [], [], waits)[0]:
            return said
        try:
            read = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            return said
        if not read:
            return said
        said += read


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    write_cast(
        record(FIRST_FAULT, root, tools), Path(sys.argv[1]), "specwb: from a broken run to the wrong cell"
    )
