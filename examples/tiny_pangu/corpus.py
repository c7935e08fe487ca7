"""Corpus and tokenizer from the standard library of the running interpreter (PSF-2.0); deterministic."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from examples.tiny_pangu.recipe import BOS_ID, EOS_ID, SPECIAL_TOKENS, Recipe, Workspace

SKIPPED_FOLDERS: Final = ("site-packages", "__pycache__", "ensurepip")
SUFFIXES: Final = (".py", ".txt", ".rst")
MIN_CHARS: Final = 400
HELD_OUT_ONE_IN: Final = 40
UNIT_CHARS: Final = (300, 6000)
"""Shortest and longest wanted length of one document; log-uniform between them."""

PIECES: Final = r" ?\p{L}+| ?\p{N}{1,3}|\n[ ]*| ?[^\s\p{L}\p{N}]+|[ ]+(?!\S)|\s+"
TABLE_PIECES: Final = re.compile(r"\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|0x[0-9a-fA-F]+|\d")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the standard library."""

    name: str
    text: str

    @property
    def is_held_out(self) -> bool:
        """The one split of the project: by file, by the digest of its relative path."""
        return int(hashlib.sha256(self.name.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0


def library_root() -> Path:
    """Return the standard library folder of the running interpreter."""
    return Path(sysconfig.get_paths()["stdlib"])


def source_files(root: Path) -> Iterator[SourceFile]:
    """Yield the usable files in a fixed order: no duplicates, tables, stubs or foreign scripts."""
    seen: set[str] = set()
    for path in _walk(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        digest = hashlib.sha256(text.encode()).hexdigest()
        if len(text) < MIN_CHARS or digest in seen:
            continue
        seen.add(digest)
        if not _is_table(text):
            yield SourceFile(path.relative_to(root).as_posix(), text)


def _walk(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(
            name for name in subfolders if name not in SKIPPED_FOLDERS and not name.startswith("config-")
        )
        yield from (Path(folder) / name for name in sorted(names) if name.endswith(SUFFIXES))


def _is_table(text: str) -> bool:
    num_numeric = len(TABLE_PIECES.findall(text))
    num_foreign = sum(character > "\x7f" for character in text)
    return num_numeric * 4 > 0.20 * len(text) or num_foreign > 0.05 * len(text)


def documents(file: SourceFile) -> list[str]:
    """Cut a file at top-level blocks into documents that end, of lengths drawn from its path."""
    generator = np.random.default_rng(int(hashlib.sha256(file.name.encode()).hexdigest()[:8], 16))
    low, high = np.log(UNIT_CHARS[0]), np.log(UNIT_CHARS[1])
    finished: list[str] = []
    current, wanted = "", 0
    for block in re.split(r"(?<=\n)\n\n+(?=\S)", file.text):
        if not current:
            wanted = int(np.exp(generator.uniform(low, high)))
        current = f"{current}\n\n{block}" if current else block
        if len(current) >= wanted:
            finished.append(current)
            current = ""
    return [*finished, current] if current else finished


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train the byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    return tokenizer


def encode_stream(tokenizer: Tokenizer, files: Iterable[SourceFile]) -> NDArray[np.uint16]:
    """Encode documents as one stream, each between `<s>` and `</s>`."""
    stream: list[int] = []
    for encoding in tokenizer.encode_batch([text for file in files for text in documents(file)]):
        stream += [BOS_ID, *encoding.ids, EOS_ID]
    return np.array(stream, dtype=np.uint16)


def build_corpus(recipe: Recipe, workspace: Workspace) -> None:
    """Write tokenizer, token streams and facts."""
    files = list(source_files(library_root()))
    train = [file for file in files if not file.is_held_out]
    held = [file for file in files if file.is_held_out]
    tokenizer = train_tokenizer((file.text for file in train), recipe.shape.vocab_size)
    tokenizer.save(str(workspace.tokenizer))
    streams = {"train": encode_stream(tokenizer, train), "held": encode_stream(tokenizer, held)}
    streams["train"].tofile(workspace.train_tokens)
    streams["held"].tofile(workspace.held_tokens)
    facts = {
        "python": platform.python_version(),
        "num_files": {"train": len(train), "held": len(held)},
        "num_tokens": {name: len(stream) for name, stream in streams.items()},
        "sha256": {name: hashlib.sha256(stream.tobytes()).hexdigest() for name, stream in streams.items()},
        "tokenizer_sha256": hashlib.sha256(workspace.tokenizer.read_bytes()).hexdigest(),
        "held_files": [file.name for file in held],
    }
    workspace.corpus_facts.write_text(json.dumps(facts, indent=1), encoding="utf-8")
