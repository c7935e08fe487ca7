"""The tokenizer of a model directory behind the `Tokenizer` words; `transformers` reads the files.

`encode` adds what the tokenizer adds by default and nothing more; a chat template is used only by
`apply_chat`, which the caller must ask for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tracing.errors import UsageError
from workbench.checkpoints.chat_template import render
from workbench.checkpoints.pickled import guarded
from workbench.checkpoints.tokenizer_files import is_byte_level, read_tokenizer_files, special_text

BYTE_TOKEN: Final = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")
SPACE_MARK: Final = "\u2581"
"""How sentencepiece-style vocabularies write a space."""

PLAIN_CLASSES: Final = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Tokenizer classes that add nothing to tokenizer.json."""


class DirectoryTokenizer:
    """A fast tokenizer read from `tokenizer.json`.

    Args:
        backend: A `transformers` fast tokenizer.
        byte_level: Tokens are written in the byte-to-character alphabet of GPT-2.
    """

    def __init__(self, backend: Any, *, byte_level: bool) -> None:
        self._backend = backend
        self._byte_from_character = byte_from_character() if byte_level else None
        self._vocab_size = 1 + max(backend.get_vocab().values(), default=-1)
        self._special_ids = frozenset(int(token_id) for token_id in backend.added_tokens_decoder)

    @property
    def vocab_size(self) -> int:
        """One more than the highest id that has a token, added ones included."""
        return self._vocab_size

    @property
    def eos_token_id(self) -> int | None:
        """What the tokenizer's own files call the end of a sequence."""
        token_id = self._backend.eos_token_id
        return None if token_id is None else int(token_id)

    def encode(self, text: str, *, special_tokens: bool = True) -> list[int]:
        """Return token ids; without the default special tokens for a later piece of a context.

        Raises:
            CheckpointError: The tokenizer cannot encode the text.
        """
        token_ids = guarded(
            "tokenizer.json cannot encode the text",
            lambda: self._backend.encode(text, add_special_tokens=special_tokens),
        )
        return [int(token_id) for token_id in token_ids]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return text, special tokens included; ids without a token are left out.

        Raises:
            CheckpointError: The tokenizer cannot decode them.
        """
        known = [int(token_id) for token_id in token_ids if 0 <= int(token_id) < self.vocab_size]
        return guarded(
            "tokenizer.json cannot decode the tokens",
            lambda: str(
                self._backend.decode(known, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            ),
        )

    def token_bytes(self, token_id: int) -> bytes:
        """Return the raw bytes of one token; empty for an id without a token (a padded vocabulary)."""
        token = self._backend.convert_ids_to_tokens(int(token_id)) if token_id < self.vocab_size else None
        if token is None or token_id < 0:
            return b""
        if token_id in self._special_ids:
            return str(token).encode()
        if self._byte_from_character is None:
            return _sentencepiece_bytes(token)
        return b"".join(
            bytes([self._byte_from_character[character]])
            if character in self._byte_from_character
            else character.encode()
            for character in token
        )

    def apply_chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the prompt text that the checkpoint's chat template makes of messages, oldest first.

        Raises:
            UsageError: The tokenizer has no chat template, or the template refuses the messages.
        """
        template = self._backend.chat_template
        if not template:
            raise UsageError("this tokenizer has no chat template; leave out --chat to use the raw text")
        if isinstance(template, dict):
            template = template.get("default")
        if not isinstance(template, str):
            raise UsageError("this tokenizer has no chat template that is a text, nor one named default")
        tokens = {
            key: text for key, text in self._backend.special_tokens_map.items() if isinstance(text, str)
        }
        return render(template, messages, tokens)


def _sentencepiece_bytes(token: str) -> bytes:
    byte = BYTE_TOKEN.match(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE_MARK, " ").encode()


def byte_from_character() -> dict[str, int]:
    """Return the byte behind each character of the byte-level alphabet."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    table: dict[int, str] = bytes_to_unicode()  # type: ignore[no-untyped-call]  # untyped in transformers
    return {character: byte for byte, character in table.items()}


def load_tokenizer(directory: Path, *, trust_remote_code: bool = False) -> DirectoryTokenizer:
    """Read the tokenizer of a model directory.

    Raises:
        ModelMissingError: No `tokenizer.json`.
        CheckpointError: It cannot be read.
    """
    layout, known = read_tokenizer_files(directory)
    return guarded(
        f"{directory / 'tokenizer.json'} cannot be read",
        lambda: DirectoryTokenizer(
            _backend(directory, known, trust_remote_code=trust_remote_code), byte_level=is_byte_level(layout)
        ),
    )


def _backend(directory: Path, known: Mapping[str, Any], *, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    fast: Any = PreTrainedTokenizerFast
    if known.get("tokenizer_class") is None or ("auto_map" in known and not trust_remote_code):
        kept = {key: special_text(known, key) for key in ("bos_token", "eos_token") if known.get(key)}
        kept |= {key: known[key] for key in ("chat_template",) if known.get(key)}
        return fast(tokenizer_file=str(directory / "tokenizer.json"), **kept)
    # AutoTokenizer reads config.json too and warns of a model type that transformers does not have
    reader: Any = fast if known["tokenizer_class"] in PLAIN_CLASSES else AutoTokenizer
    return reader.from_pretrained(str(directory), trust_remote_code=trust_remote_code, local_files_only=True)
