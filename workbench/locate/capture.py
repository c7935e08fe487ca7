"""Keeps copies of the tensors that a path gives of its networks, forward by forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tracing.errors import UsageError
from tracing.intermediates import place_of
from tracing.stage_validation import InvalidStageResultError
from workbench.lockstep.tensors.host import plain_tensor

Given = dict[str, Tensor]
"""Full name to tensor, of one forward."""
Wanted = Callable[[str], bool]


class Capture:
    """Takes what `DecodePath.intermediates` gives.

    Attributes:
        forwards: Network to its forwards, in order; tensors lie on the host in their own dtype.
        refused: Names that are in no list, and tensors that hold no values, with the reason.
    """

    def __init__(self, wanted: Wanted = lambda _: True) -> None:
        """Keep the tensors whose names are wanted."""
        self.forwards: dict[str, list[Given]] = {}
        self.refused: dict[str, str] = {}
        self._wanted = wanted
        self._told: dict[str, set[str]] = {}

    def give(self, name: str, tensor: Any) -> None:
        """Keep a copy; a name that comes again begins the next forward of its network."""
        try:
            network = place_of(name).network
            forwards, told = self.forwards.setdefault(network, []), self._told.setdefault(network, set())
            if not forwards or name in told:
                forwards.append({})
                told.clear()
            told.add(name)
            if self._wanted(name):
                forwards[-1][name] = plain_tensor(name, tensor).cpu()
        except (UsageError, InvalidStageResultError) as refusal:
            self.refused[f"{name!s:.80}"] = str(refusal)
