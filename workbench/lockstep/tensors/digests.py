"""Digests of rows: xxh3_64 of each row's bytes, read back from memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from workbench.lockstep.tensors.host import row_bytes


def kv_row_digests(kv_rows: Any) -> NDArray[np.uint64]:
    """Digest each cache row of `[layers, 2, kv_heads, R, D]`: uint64 `[R]`."""
    return _digest_rows(row_bytes(kv_rows))


def feature_row_digests(features: Any) -> NDArray[np.uint64]:
    """Digest each row of `[R, width]` in its native dtype: uint64 `[R]`."""
    rows = features.detach().contiguous().cpu()
    return _digest_rows(rows.view(rows.shape[0], -1).view(torch.uint8).numpy())


def _digest_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.array([xxhash.xxh3_64_intdigest(row) for row in rows], dtype=np.uint64)
