"""The EAGLE-3 drafter of the reference: rows over teacher features, searched beam by beam on each rung."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from reference.drafters import eagle3_replay, eagle3_tree
from reference.drafters.seam import ReferenceDrafter, by_search
from reference.search import Search
from tracing.settings import SEARCH_SETTINGS

SEARCHES: Final[Mapping[str, Search[Any]]] = {
    "replay": Search(eagle3_replay.begin, eagle3_replay.expand),
    "masked": Search(partial(eagle3_tree.begin, reuses_kv=False), eagle3_tree.expand),
    "cached": Search(partial(eagle3_tree.begin, reuses_kv=True), eagle3_tree.expand, eagle3_tree.begin_at),
}


EAGLE3: Final = ReferenceDrafter(by_search(SEARCHES, "eagle3"), settings=SEARCH_SETTINGS, searches=SEARCHES)
