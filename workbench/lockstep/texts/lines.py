"""Reads texts: JSON lines of prompts and token ids; bounded, one line at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tracing.errors import CheckpointError, UsageError
from workbench.checkpoints.json_text import parse_object
from workbench.judge.texts import FINISH_REASONS, TextRecord

MAX_LINE: Final = 32 << 20
MAX_INT: Final = 2**31
KEYS: Final = (
    *("id", "prompt_token_ids", "prompt", "output_token_ids", "accepted", "finish_reason"),
    *("max_new_tokens", "ignore_eos", "stop_token_ids", "temperature"),
)
"""Keys of a line; others are named in a warning and not read."""
Encode = Callable[[str], list[int]]


def read_texts(file: str, encode: Encode, unread: Callable[[str], None]) -> Iterator[TextRecord]:
    """Yield the records of a file.

    Args:
        file: JSON lines.
        encode: Makes token ids of a prompt that is given as text.
        unread: Told each key that is not known.

    Raises:
        UsageError: The file cannot be read, or a line is no record; names the line.
    """
    try:
        with Path(file).open("rb") as opened:
            number = 0
            for line_number, line in enumerate(iter(lambda: opened.readline(MAX_LINE + 1), b""), 1):
                if not line.strip():
                    continue
                where = f"{file} line {line_number}"
                try:
                    entry = parse_object(line, where, most_bytes=MAX_LINE)
                except CheckpointError as problem:
                    raise UsageError(str(problem)) from None
                for key in entry.keys() - set(KEYS):
                    unread(str(key))
                yield _record(entry, number, where, encode)
                number += 1
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from None


def _record(entry: Mapping[str, Any], number: int, where: str, encode: Encode) -> TextRecord:
    temperature = entry.get("temperature") or 0
    if temperature != 0:
        raise UsageError(
            f"{where} was sampled at temperature {temperature!r}; texts are judged as greedy decoding. "
            "`specwb lossless --black-box` tests samples"
        )
    reason = entry.get("finish_reason")
    if reason is not None and reason not in FINISH_REASONS:
        raise UsageError(f"{where}: finish_reason should be {', '.join(FINISH_REASONS)}, got {reason!r}")
    limit, ignores = entry.get("max_new_tokens"), entry.get("ignore_eos", False)
    if limit is not None and (type(limit) is not int or not 0 <= limit < MAX_INT):
        raise UsageError(f"{where}: max_new_tokens should be a whole number from 0 on, got {limit!r}")
    if type(ignores) is not bool:
        raise UsageError(f"{where}: ignore_eos should be true or false, got {ignores!r}")
    if "output_token_ids" not in entry:
        raise UsageError(
            f"{where} should have output_token_ids; text alone does not say which tokens were chosen"
        )
    return TextRecord(
        number=number,
        name=str(entry.get("id", "")),
        prompt_token_ids=_prompt(entry, where, encode),
        output_token_ids=_ids(entry["output_token_ids"], f"{where}: output_token_ids"),
        accepted=None if entry.get("accepted") is None else _ids(entry["accepted"], f"{where}: accepted"),
        finish_reason=reason,
        max_new_tokens=limit,
        ignore_eos=ignores,
        stop_token_ids=_ids(entry.get("stop_token_ids") or [], f"{where}: stop_token_ids"),
    )


def _prompt(entry: Mapping[str, Any], where: str, encode: Encode) -> tuple[int, ...]:
    ids, text = entry.get("prompt_token_ids"), entry.get("prompt")
    if ids is None and isinstance(text, str) and text:
        ids = encode(text)
    if ids is None:
        raise UsageError(f"{where} should have prompt_token_ids, or prompt as text")
    prompt = _ids(ids, f"{where}: prompt_token_ids")
    if not prompt:
        raise UsageError(f"{where}: a prompt needs at least one token")
    return prompt


def _ids(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(each) is int and abs(each) < MAX_INT for each in value):
        raise UsageError(f"{what} should be a list of whole numbers")
    return tuple(value)
