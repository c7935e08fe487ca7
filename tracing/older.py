"""Words of older formats, read as the current ones."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from tracing.schema import arrow_type, column_named

CURRENT_WORDS: Final = {"proposer": {"pld": "lookup"}}
"""Column to what a word of an older format is read as."""


ADDED: Final = ("requests", "model_facts")
"""Sections of a manifest that format 1.1 gave a meaning; before, a writer might name his own data so."""


def in_current_sections(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with a writer's own data of format 1.0 under names that mean nothing now."""
    if manifest.get("format") != "1.0":
        return manifest
    return {f"own_{name}" if name in ADDED else name: value for name, value in manifest.items()}


def current_word(column: str, word: str) -> str:
    """Return the current word for one that an older format may have used."""
    return CURRENT_WORDS.get(column, {}).get(word, word)


def in_current_words(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with the words of older formats replaced; the batch itself where it has none."""
    for name, words in CURRENT_WORDS.items():
        place = batch.schema.get_field_index(name)
        if place >= 0 and not words.keys().isdisjoint(batch.column(place).dictionary.to_pylist()):
            texts = [words.get(text, text) for text in batch.column(place).to_pylist()]
            current = pa.array(texts, pa.string()).dictionary_encode().cast(arrow_type(column_named(name)))
            batch = batch.set_column(place, batch.schema.field(place), current)
    return batch
