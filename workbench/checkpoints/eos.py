"""Which tokens end a turn, from every file that names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracing.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class EosIds:
    """End-of-sequence ids.

    Attributes:
        effective: What a run stops at: those of generation_config.json, else those of config.json.
        config: Ids in config.json.
        generation: Ids in generation_config.json.
        tokenizer: The tokenizer's own end token, or None.
    """

    effective: frozenset[int]
    config: frozenset[int]
    generation: frozenset[int]
    tokenizer: int | None


def read_eos(
    config: Mapping[str, Any], generation: Mapping[str, Any], tokenizer_eos: int | None, vocab_size: int
) -> EosIds:
    """Collect the end-of-sequence ids.

    Raises:
        CheckpointError: Ids that are not token ids of this vocabulary.
    """
    from_config = _ids(config.get("eos_token_id"), "config.json", vocab_size)
    from_generation = _ids(generation.get("eos_token_id"), "generation_config.json", vocab_size)
    return EosIds(from_generation or from_config, from_config, from_generation, tokenizer_eos)


def _ids(value: object, file_name: str, vocab_size: int) -> frozenset[int]:
    items: list[Any] = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < vocab_size:
            raise CheckpointError(
                f"{file_name}: eos_token_id should be token ids below {vocab_size}, got {value!r}"
            )
    return frozenset(items)
