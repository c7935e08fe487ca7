"""Results of a stage as they are received, with tensors where the seam has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tracing import stage_validation


def validated(stage: str, result: Any, sizes: Mapping[str, int]) -> Any:
    """Return a copy of a stage's result in the form of the seam; see `tracing.stage_validation.validated`.

    Raises:
        InvalidStageResultError: It does not have the form of that stage's result.
    """
    return stage_validation.validated(stage, result, sizes, torch.from_numpy)
