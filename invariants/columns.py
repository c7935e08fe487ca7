"""What rules must know of the form of trace columns, from the table of `tracing.columns`."""

from __future__ import annotations

from typing import Final

from tracing.columns import COLUMNS

PER_NODE: Final = tuple(
    each.name for each in COLUMNS if each.axes and each.axes[0] == "N" and each.name != "parents"
)
"""Columns with a row per node, beside `parents`, which says how many nodes there are."""
SITES: Final = "index_sites"
SITE_FIELDS: Final = ("min", "max", "bound")
"""Fields of an index site; in flat columns each is a column of its own, e.g. `index_sites.min`."""
NULLABLE_ENTRIES: Final = frozenset({"draft_top1_offsets"})
"""Columns whose entries may be null; elsewhere a null is a value that the column could not hold."""
