"""The eager probe of draft attention: how far back each head of each expanded node looks first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = None
"""Key of the row that expands the root, which has no flat candidate number."""


class OffsetProbe:
    """Collects, during one draft, the distance to the most attended key per expanded beam and head."""

    def __init__(self) -> None:
        self._offsets: dict[int | None, NDArray[np.int64]] = {}

    def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
        """Do nothing."""

    def saw_draft_attention(
        self,
        *,
        flat_ids: NDArray[np.int64],
        query: Any,
        key: Any,
        query_positions: Any,
        key_positions: Any,
        visible: Any,
    ) -> None:
        """Probe one expansion, the root's first; shapes as in `StageWatch.saw_draft_attention`."""
        if not flat_ids.size:
            self._offsets = {}  # what an unfinished draft has left
        num_groups = query.shape[0] // key.shape[0]
        keys = key.repeat_interleave(num_groups, dim=0).float()  # [H, S, D]
        scores = query.float() @ keys.transpose(1, 2)  # [H, B, S]
        scores = scores.masked_fill(~torch.as_tensor(visible)[None], -torch.inf)
        nearest = torch.as_tensor(key_positions).to(scores.device)[scores.argmax(-1)]  # [H, B]
        offsets = (torch.as_tensor(query_positions).to(scores.device)[None] - nearest).T.cpu().numpy()
        for flat_id, row in zip(flat_ids.tolist() or [ROOT], offsets, strict=True):
            self._offsets[flat_id] = row

    def take(self, flat_ids: NDArray[np.int64], num_rows: int) -> Any:
        """Return and forget masked int `[num_rows, H]` of root, nodes and pads; None if none was probed."""
        probed, self._offsets = self._offsets, {}
        if not probed:
            return None
        num_heads = len(next(iter(probed.values())))
        table = np.ma.MaskedArray(np.zeros((num_rows, num_heads), np.int32), mask=True)
        for node, flat_id in enumerate([ROOT, *flat_ids.tolist()]):
            if flat_id in probed:
                table[node] = probed[flat_id]
        return table
