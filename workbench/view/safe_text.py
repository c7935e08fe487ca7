"""Text from a trace or a tokenizer is data: it is made visible and never sent raw to a terminal."""

from __future__ import annotations

import unicodedata
from typing import Final

_VISIBLE: Final = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x1b": "␛", "\x7f": "␡"}
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (incl. right-to-left marks), surrogate, private use, unassigned, line separators."""


def safe_text(text: str) -> str:
    """Return `text` with every character that could act on a terminal replaced by a visible one."""
    return "".join(_visible(character) for character in text)


def safe_bytes(raw: bytes) -> str:
    r"""Return the text of a token's bytes; bytes that are not UTF-8 appear as `\xNN`."""
    return safe_text(raw.decode("utf-8", errors="backslashreplace"))


def _visible(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    if unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return f"⟨{ord(character):04X}⟩"
    return character
