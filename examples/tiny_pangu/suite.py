"""The evaluation suite: 80 code completions, 80 two-turn chats and 8 long texts from held-out files.

Deterministic on one interpreter with one tokenizer. Prompt lengths lie on a geometric scale, so that short
and long contexts weigh alike; which text gets which length follows from how much text stands before it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from tokenizers import Tokenizer

from examples.tiny_pangu.corpus import SourceFile
from examples.tiny_pangu.heldout import BLOCK_BREAK, held_out_files

NUM_CODE: Final = 80
NUM_CHATS: Final = 80
NUM_LONG: Final = 8
CODE_TOKENS: Final = (20, 1500)
FIRST_TURN_TOKENS: Final = (20, 1000)
SECOND_TURN_TOKENS: Final = (20, 300)
LONG_TOKENS: Final = 1960
MIN_CHAT_TOKENS: Final = 60
"""A chat needs this much text behind its start: two turns with something in them."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class SuitePrompt:
    """One prompt: `id`, `kind` (`code`, `chat`, `length`), `source` (path in the library), user turns."""

    id: str
    kind: str
    source: str
    turns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Head:
    """A function's signature and docstring, and everything that stands before it in its file."""

    source: str
    before: str
    head: str


def suite_prompts(tokenizer: Tokenizer) -> list[SuitePrompt]:
    """Return the whole suite in its fixed order."""
    files = held_out_files()
    heads = list(in_turn([list(_heads(file)) for file in files]))
    return [*_code(tokenizer, heads[:NUM_CODE]), *_chats(tokenizer, files), *_long(tokenizer, heads)]


def write_suite(path: Path, prompts: Iterable[SuitePrompt]) -> None:
    """Write one JSON object a line."""
    lines = [json.dumps(asdict(prompt), ensure_ascii=False) for prompt in prompts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def in_turn(lists: Sequence[Sequence[Item]]) -> Iterator[Item]:
    """Yield one of each list, then the next of each, so that no file dominates."""
    for row in zip_longest(*lists):
        yield from (item for item in row if item is not None)  # None fills up the shorter lists


def _heads(file: SourceFile) -> Iterator[_Head]:
    """Yield each documented function of a file."""
    if not file.name.endswith(".py"):
        return
    lines = file.text.splitlines(keepends=True)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(file.text)) if isinstance(node, kinds)]
    for node in sorted(found, key=lambda each: each.lineno):
        if ast.get_docstring(node) and len(node.body) > 1:
            start = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
            stop = node.body[0].end_lineno
            yield _Head(file.name, "".join(lines[:start]), "".join(lines[start:stop]))


def _spread(bounds: tuple[int, int], available: Sequence[int]) -> list[int]:
    """Return one length per text, geometric between the bounds, the longest for who has the most text."""
    targets = np.geomspace(*bounds, num=len(available)).round().astype(int)
    lengths = np.empty(len(available), dtype=int)
    lengths[np.argsort(available, kind="stable")] = targets
    return [int(length) for length in lengths]


def _code(tokenizer: Tokenizer, heads: Sequence[_Head]) -> list[SuitePrompt]:
    available = [_count(tokenizer, head.before) for head in heads]
    lengths = _spread(CODE_TOKENS, available)
    return [
        SuitePrompt(f"code-{i:02}", "code", head.source, (_last(tokenizer, head, length),))
        for i, (head, length) in enumerate(zip(heads, lengths, strict=True))
    ]


def _long(tokenizer: Tokenizer, heads: Sequence[_Head]) -> list[SuitePrompt]:
    enough = [head for head in heads if _count(tokenizer, head.before) >= LONG_TOKENS]
    one_a_file = list({head.source: head for head in reversed(enough)}.values())[::-1]
    chosen = sorted(one_a_file, key=lambda head: head.source)[:NUM_LONG]
    return [
        SuitePrompt(f"length-{i}", "length", head.source, (_last(tokenizer, head, LONG_TOKENS),))
        for i, head in enumerate(chosen)
    ]


def _count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def _last(tokenizer: Tokenizer, head: _Head, num_tokens: int) -> str:
    """Return a head and the whole lines before it that fit into so many tokens; at least the head."""
    text = head.before + head.head
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    start = offsets[-num_tokens][0] if num_tokens < len(offsets) else 0
    if start:
        start = text.find("\n", start) + 1 or len(text)
    return text[min(start, len(head.before)) :]


def _chats(tokenizer: Tokenizer, files: Sequence[SourceFile]) -> list[SuitePrompt]:
    """Return chats: a piece of a file, then the piece behind it."""
    starts = list(in_turn([_starts(tokenizer, file) for file in files if "encodings/" not in file.name]))
    chosen = starts[:NUM_CHATS]
    rests = [_count(tokenizer, file.text[start:]) for file, start in chosen]
    first = _spread(FIRST_TURN_TOKENS, rests)
    second = _spread(SECOND_TURN_TOKENS, rests)
    second = [*second[1::2], *second[::2]]  # a long second turn is not always behind a long first one
    return [
        SuitePrompt(f"chat-{i:02}", "chat", file.name, _two(tokenizer, file.text[start:], one, two))
        for i, ((file, start), one, two) in enumerate(zip(chosen, first, second, strict=True))
    ]


def _starts(tokenizer: Tokenizer, file: SourceFile) -> list[tuple[SourceFile, int]]:
    """Return where a file's top-level blocks begin, as long as enough text follows."""
    starts = [0, *(match.end() for match in BLOCK_BREAK.finditer(file.text))]
    return [(file, start) for start in starts if _count(tokenizer, file.text[start:]) >= MIN_CHAT_TOKENS]


def _two(tokenizer: Tokenizer, text: str, first: int, second: int) -> tuple[str, str]:
    """Return the first tokens of a text and the tokens behind them."""
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    first = min(first, len(offsets) - MIN_CHAT_TOKENS // 2)
    middle = offsets[first - 1][1]
    stop = offsets[min(first + second, len(offsets)) - 1][1]
    return text[:middle], text[middle:stop]
