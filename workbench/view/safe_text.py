"""Text from a trace, a tokenizer or a checkpoint is data: it is made visible and never sent raw.

A terminal acts on control characters; the log of a CI system also acts on a line that begins with `::`, and
on `##[` anywhere in a line (workflow commands of GitHub Actions and Azure Pipelines).
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Final

_VISIBLE: Final = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x1b": "␛", "\x7f": "␡"}
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (incl. right-to-left marks), surrogate, private use, unassigned, line separators."""
_LOG_COMMAND: Final = re.compile(r"(##\w*)\[")
_LINE_COMMAND: Final = re.compile(r"\A(\s*):(?=:)")


def safe_text(text: str) -> str:
    """Return `text` with every character that could act on a terminal replaced by a visible one."""
    return _LOG_COMMAND.sub(r"\1⟨005B⟩", "".join(map(_visible, text)))


def safe_line(text: str) -> str:
    """Return `text` as a whole line of output: as `safe_text`, and no workflow command at its beginning."""
    return _LINE_COMMAND.sub(r"\1⟨003A⟩", safe_text(text))


def safe_lines(text: str) -> str:
    """Return text of several lines, each as `safe_line`; their line ends stay."""
    return "\n".join(map(safe_line, text.split("\n")))


def safe_json(data: Any, indent: int | None = None, **options: Any) -> str:
    """Return JSON that nothing acts on, though it decodes to the same data.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(data, indent=indent, allow_nan=False, **options)
    return _LOG_COMMAND.sub(r"\1\\u005b", text).replace("\x7f", "\\u007f")


def safe_bytes(raw: bytes) -> str:
    r"""Return the text of a token's bytes; bytes that are not UTF-8 appear as `\xNN`."""
    return safe_text(raw.decode("utf-8", errors="backslashreplace"))


def _visible(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    if unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return f"⟨{ord(character):04X}⟩"
    return character
