"""Logits of verified rows as trace columns; the same for every engine."""

from __future__ import annotations

from typing import Any

import numpy as np


def logit_columns(logits: Any, top_logits: int) -> dict[str, Any]:
    """Return choices and the best logits of each row, ties to the lower id.

    Args:
        logits: `[N, V]`, a torch tensor of any float dtype and device.
        top_logits: K to keep.
    """
    rows = logits.detach().float().cpu().numpy()
    order = np.argsort(-rows, axis=1, kind="stable")[:, : min(top_logits, rows.shape[1])]
    return {
        "target_token_ids": order[:, 0],
        "target_top_ids": order,
        "target_top_logits": np.take_along_axis(rows, order, axis=1),
    }
