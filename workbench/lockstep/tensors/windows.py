"""What a path's windows on its caches give, held to what the seam prescribes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tracing.stage_validation import InvalidStageResultError
from workbench.lockstep.tensors.host import plain_tensor


def checked_rows(rows: Any, num_rows: int) -> torch.Tensor:
    """Return cache rows as a plain tensor `[layers, 2, kv_heads, R, D]` in their own dtype.

    Raises:
        InvalidStageResultError: They are something else.
    """
    tensor = plain_tensor("kv_rows", rows)
    expected = f"[layers, 2, kv_heads, {num_rows}, D]"
    if tensor.dim() != 5 or tensor.shape[1] != 2 or tensor.shape[3] != num_rows:
        raise InvalidStageResultError("kv_rows", f"of shape {expected}", str(list(tensor.shape)))
    return tensor


def checked_lengths(lengths: Any) -> tuple[int, ...]:
    """Return the length of each layer.

    Raises:
        InvalidStageResultError: They are no numbers from 0 on.
    """
    expected = "a tuple of lengths, one a layer"
    if not isinstance(lengths, Sequence) or isinstance(lengths, (str, bytes)):
        raise InvalidStageResultError("kv_lengths", expected, type(lengths).__name__)
    if not all(isinstance(each, (int, np.integer)) and each >= 0 for each in lengths):
        raise InvalidStageResultError("kv_lengths", expected, repr(tuple(lengths))[:80])
    return tuple(int(each) for each in lengths)
