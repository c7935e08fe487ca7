"""A drafter of any kind as it crosses from its files: what a pair holds, and what the load report states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tracing.models import AnyDrafterConfig
from workbench.checkpoints.loaded_teacher import LoadedTeacher
from workbench.checkpoints.report import Check, ModelReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DrafterPart:
    """A drafter as plain data; empty for a kind that has nothing to load.

    Attributes:
        config, weights, target_from_draft: As `tracing.models.ModelPair` has them.
        report: What was found in its directory, or None.
        aux_layers, aux_convention, d2t_convention: As `LoadReport` has them.
        checks: Every check of the drafter, alone and with its teacher.
    """

    config: AnyDrafterConfig = None
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    target_from_draft: Any = None
    report: ModelReport | None = None
    aux_layers: tuple[int, ...] = ()
    aux_convention: str = "none"
    d2t_convention: str = "identity"
    checks: tuple[Check, ...] = ()


LoadDrafter = Callable[[Path, LoadedTeacher], DrafterPart]
"""Loads a directory for a teacher."""
