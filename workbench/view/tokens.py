"""Token ids as readable text that is safe to print."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.view.safe_text import safe_bytes
from workbench.view.width import shortened


@dataclass(frozen=True, slots=True)
class Tokens:
    """Texts of a run's token ids.

    Attributes:
        raw_bytes: Raw bytes by token id; None for an id that the tokenizer does not have.
    """

    raw_bytes: Mapping[int, bytes | None] = field(default_factory=dict)

    def text(self, token_id: int | None, width: int = 16) -> str:
        """Return the token in quotes, at most `width` cells, or its number where there is no text."""
        if token_id is None:
            return "-"
        raw = self.raw_bytes.get(token_id)
        if raw is None:
            unknown = token_id in self.raw_bytes
            return f"#{token_id} (not in the vocabulary)" if unknown else f"#{token_id}"
        shown = safe_bytes(raw)
        if shown and unicodedata.category(shown[0]) in {"Mn", "Me", "Mc"}:
            shown = "◌" + shown  # else the mark would combine with the quote
        return f"'{shortened(shown, max(1, width - 2))}'"

    def ids_with(self, needle: str) -> frozenset[int]:
        """Return the ids whose text holds `needle`, ignoring case."""
        wanted = needle.casefold()
        return frozenset(
            token_id
            for token_id, raw in self.raw_bytes.items()
            if raw is not None and wanted in safe_bytes(raw).casefold()
        )
