"""What makes a recorder in `ring` mode write: signs in a single launch, and acceptance that collapses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from workbench.adapters.vllm.rows import Array

WINDOW: Final = 512
"""Draft tokens over which acceptance is taken."""
MIN_SHARE: Final = 0.05
"""Acceptance that a window had to reach before a later one can be a collapse."""
FALL: Final = 0.2
"""A collapse is below this part of the best window so far."""


def alarm_in(facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Return what is wrong with a launch as a worker recorded it, or empty.

    Only what no lawful engine does: the rules, which have the scheduler's half too, judge the rest.
    """
    if "top_logits" in arrays and np.isnan(arrays["top_logits"]).any():
        return "logits that are no numbers"
    sizes, num_rows = np.diff(arrays["query_starts"]), len(arrays["kv_lens"])
    if len(sizes) == num_rows and len(arrays["committed"]) == num_rows:
        wrong = np.flatnonzero(arrays["kv_lens"] != arrays["committed"] + sizes)
        if len(wrong):
            return f"another key length than committed tokens and rows for request {wrong[0]} of the batch"
    for group, size in enumerate(facts["block_sizes"]):
        slots = arrays[f"slots_{group}"]
        used = np.sort(slots[slots >= size])  # the first block is written by padding
        if (used[1:] == used[:-1]).any():
            return f"two rows that write one slot of group {group}"
    return ""


class AcceptanceWatch:
    """Notices that drafts, of which a share was accepted before, hardly are any more."""

    def __init__(self) -> None:
        self._drafted = self._accepted = 0
        self._best = 0.0

    def add(self, drafts: Array, accepted: Array) -> str:
        """Count the requests of a launch; return a sentence where acceptance has collapsed, or empty.

        Args:
            drafts: Tokens that were verified, `[R]`.
            accepted: Tokens that were accepted of them, `[R]`.
        """
        self._drafted += int(drafts.sum())
        self._accepted += int(np.clip(accepted, 0, drafts).sum())
        if self._drafted < WINDOW:
            return ""
        share, best = self._accepted / self._drafted, self._best
        self._drafted = self._accepted = 0
        self._best = max(best, share)
        if best >= MIN_SHARE and share < FALL * best:
            return f"acceptance that fell from {best:.2f} to {share:.2f} of the drafts"
        return ""
