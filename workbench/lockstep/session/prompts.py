"""Prompts: a text file is one prompt; each line of a `.jsonl` file is one, with later user turns."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracing.errors import UsageError


@dataclass(frozen=True, slots=True)
class Prompt:
    """One conversation to decode.

    Attributes:
        prompt_id: Number from 0, in file order.
        texts: The first text, then each later user text; one turn each.
        cut: So many tokens of the first text are decoded from; None for all.
    """

    prompt_id: int
    texts: tuple[str, ...]
    cut: int | None = None


def read_prompts(source: str) -> tuple[Prompt, ...]:
    """Read prompts from a file, or from standard input when `source` is `-`.

    Raises:
        UsageError: Missing, empty or binary file; a line that is not a prompt.
    """
    name, raw = _read(source)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            f"{name} should be UTF-8 text, got binary data; give a text or .jsonl file"
        ) from None
    if "\0" in text:
        raise UsageError(f"{name} should be text, got NUL bytes; give a text or .jsonl file")
    if not text.strip():
        raise UsageError(f"{name} is empty; a prompt needs at least one token")
    if name.endswith(".jsonl"):
        return _from_lines(name, text)
    return (Prompt(0, (text,)),)


def _read(source: str) -> tuple[str, bytes]:
    if source == "-":
        return "standard input", sys.stdin.buffer.read()
    path = Path(source)
    try:
        return str(path), path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"no prompt file {source}; give a text file, a .jsonl file, or - for stdin"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read prompt file {source}: {error.strerror}") from None


def _from_lines(name: str, text: str) -> tuple[Prompt, ...]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return tuple(
        Prompt(prompt_id, _texts(f"{name} line {number}", line))
        for prompt_id, (number, line) in enumerate(lines)
    )


def _texts(where: str, line: str) -> tuple[str, ...]:
    expected = f'{where} should be {{"prompt": text, "turns": [text, ...]}}'
    try:
        entry: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise UsageError(f"{expected}, got invalid JSON ({error.msg})") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str) or not entry["prompt"]:
        raise UsageError(f"{expected}; the prompt is missing or not text")
    turns = entry.get("turns", [])
    if not isinstance(turns, list) or not all(isinstance(turn, str) and turn for turn in turns):
        raise UsageError(f"{expected}; turns should be a list of non-empty texts")
    return (entry["prompt"], *turns)
