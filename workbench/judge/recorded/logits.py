"""The best few logits of a node, as a trace has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def recorded_logits(row: Row, node: int) -> dict[int, float]:
    """Return the recorded logits of a node by token id."""
    ids, logits = row.get("target_top_ids"), row.get("target_top_logits")
    if ids is None or logits is None or np.shape(ids) != np.shape(logits) or node >= len(ids):
        return {}
    return dict(zip(np.asarray(ids[node]).tolist(), np.asarray(logits[node]).tolist(), strict=True))
