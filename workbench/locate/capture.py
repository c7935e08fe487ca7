"""Keeps copies of the tensors that a path gives of its networks, forward by forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from torch import Tensor

from tracing.errors import UsageError
from tracing.intermediates import place_of
from tracing.stage_validation import InvalidStageResultError
from workbench.lockstep.tensors.host import plain_tensor

Given = dict[str, Tensor]
"""Full name to tensor, of one forward."""
Wanted = Callable[[str], bool]
MOST_BYTES: Final = 2 << 30


class Capture:
    """Takes what `DecodePath.intermediates` gives.

    Attributes:
        forwards: Network to its forwards, in order; tensors lie on the host in their own dtype.
        refused: Names that are in no list, and tensors that hold no values, with the reason.
        left_out: Sites of layers of which only what leaves them was kept, since all would have been too much.
    """

    def __init__(self, wanted: Wanted = lambda _: True, most_bytes: int = MOST_BYTES) -> None:
        """Keep the tensors whose names are wanted, up to so many bytes; of more, what leaves a layer."""
        self.forwards: dict[str, list[Given]] = {}
        self.refused: dict[str, str] = {}
        self.left_out: set[str] = set()
        self._wanted, self._most_bytes, self._bytes = wanted, most_bytes, 0
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
                self._keep(forwards[-1], name, tensor)
        except (UsageError, InvalidStageResultError) as refusal:
            self.refused[f"{name!s:.80}"] = str(refusal)

    def _keep(self, forward: Given, name: str, tensor: Any) -> None:
        if self.left_out and not leaves_layer(name):
            self.left_out.add(site_of(name))
            return
        forward[name] = plain_tensor(name, tensor).cpu()
        self._bytes += forward[name].nbytes
        if self._bytes > self._most_bytes and not self.left_out:
            self._drop_what_is_inside()

    def _drop_what_is_inside(self) -> None:
        for forwards in self.forwards.values():
            for forward in forwards:
                inside = [name for name in forward if not leaves_layer(name)]
                self.left_out |= {site_of(name) for name in inside}
                for name in inside:
                    del forward[name]


def site_of(name: str) -> str:
    """Return network and site of a tensor, e.g. `teacher.layers.3`."""
    return name.rpartition(".")[0]


def leaves_layer(name: str) -> bool:
    """Whether a tensor leaves a layer, or lies outside of layers."""
    place = place_of(name)
    return not place.site or place.tensor.name == "output"
