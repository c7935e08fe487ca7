"""What each kind of drafter cannot record, and why, in words: its drafts have another form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SEARCH: Final = frozenset({"beam_flat_ids", "draft_top1_offsets"})
_FORMS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "medusa": ("a static tree", _SEARCH),
    "lookup": ("a chain that was looked up", _SEARCH | {"draft_logprobs"}),
}
"""Kind of drafter to the form of its drafts, and columns that such a draft does not have."""


def why_undrafted(proposer: object, *columns: str) -> str | None:
    """Return one clause that says why drafts of a kind have none of these columns; None where they may."""
    form, without = _FORMS.get(str(proposer), ("", frozenset()))
    missing = [column for column in columns if column in without]
    return f"{proposer} drafts {form}, which has no {missing[0]}" if missing else None
