"""Prompts from files that no training stage has seen: one split and one script for every use."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from examples.tiny_pangu.corpus import SourceFile, library_root, source_files

PROMPT_TOKENS: Final = 95
"""Tokens of text; the tokenizer's `<s>` makes it 96."""

LONG_TOKENS: Final = 640
MIN_TOKENS_AFTER: Final = 1.4
"""A block must be this much longer than the prompt cut from it: there is something left to say."""

NUM_PROMPTS: Final = {"code": 28, "prose": 28}
BLOCK_BREAK: Final = re.compile(r"(?<=\n)\n\n+(?=\S)")
PROSE_SUFFIXES: Final = (".txt", ".rst")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A held-out prompt: `id`, `kind` (`code` or `prose`), `source` (path in the library) and `text`."""

    id: str
    kind: str
    source: str
    text: str


def held_out_files() -> list[SourceFile]:
    """Return the held-out files of the running interpreter's library."""
    return [file for file in source_files(library_root()) if file.is_held_out]


def _code_blocks(file: SourceFile) -> Iterator[str]:
    if file.name.endswith(".py"):
        blocks = BLOCK_BREAK.split(file.text)
        yield from (block for block in blocks if block.startswith(("def ", "class ", "@", "async ")))


def _prose_blocks(file: SourceFile) -> Iterator[str]:
    """Yield docstrings with what follows them, or the paragraphs of a text file."""
    if file.name.endswith(PROSE_SUFFIXES):
        yield from BLOCK_BREAK.split(file.text)
        return
    lines = file.text.splitlines(keepends=True)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(file.text)):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False):
            literal = node.body[0]
            yield "".join(lines[literal.lineno - 1 : literal.end_lineno])


def cut(tokenizer: Tokenizer, text: str, num_tokens: int) -> str | None:
    """Return the first tokens of a text as text, or None when the text is too short to go on after them."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    if len(encoding.ids) < num_tokens * MIN_TOKENS_AFTER:
        return None
    return text[: encoding.offsets[num_tokens - 1][1]]


def _candidates(tokenizer: Tokenizer, files: Iterable[SourceFile], kind: str) -> list[Prompt]:
    """Return every block of a kind that is long enough, files in turn, so that no file dominates."""
    blocks_of = _code_blocks if kind == "code" else _prose_blocks
    by_file = []
    for file in files:
        texts = [cut(tokenizer, block, PROMPT_TOKENS) for block in blocks_of(file)]
        by_file.append([(file.name, text) for text in texts if text])
    turns = range(max(len(found) for found in by_file))
    in_turn = [found[turn] for turn in turns for found in by_file if turn < len(found)]
    return [Prompt(f"{kind}-{i:02}", kind, name, text) for i, (name, text) in enumerate(in_turn)]


def held_out_prompts(tokenizer: Tokenizer) -> list[Prompt]:
    """Return the held-out prompts: the first candidates of each kind."""
    files = held_out_files()
    parts = [_candidates(tokenizer, files, kind)[: NUM_PROMPTS[kind]] for kind in NUM_PROMPTS]
    return [prompt for part in parts for prompt in part]


def further_prompts(tokenizer: Tokenizer) -> list[Prompt]:
    """Return the candidates after those, for a statement about the few outputs that do not loop."""
    files = held_out_files()
    parts = [_candidates(tokenizer, files, kind)[NUM_PROMPTS[kind] :] for kind in NUM_PROMPTS]
    return [prompt for part in parts for prompt in part]


def long_prompts(tokenizer: Tokenizer) -> list[Prompt]:
    """Return long candidates: the beginnings of held-out files."""
    texts = [(file.name, cut(tokenizer, file.text, LONG_TOKENS)) for file in held_out_files()]
    return [Prompt(f"long-{i:02}", "long", name, text) for i, (name, text) in enumerate(texts) if text]


def write_prompts(path: Path, prompts: Iterable[Prompt]) -> None:
    """Write one JSON object a line."""
    lines = [json.dumps(asdict(prompt), ensure_ascii=False) for prompt in prompts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
