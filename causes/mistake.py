"""A single mistake in a port, and how it is planted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from causes.twin import Twins
from workbench.faults.experiment import Setup

FAMILIES: Final = (
    *("tree", "parents", "mask", "positions", "rotary", "cache", "commit", "accept", "tokens"),
    *("features", "drafter", "d2t", "logits", "scores", "stale", "kernel", "dtype", "form"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One mistake.

    Attributes:
        port: The port that makes it.
        name: What it does, kebab-case.
        family: One of `FAMILIES`.
        plant: `(setup)` to both paths of the port.
        need: What a run must have, a key of `workbench.faults.bench.NEEDS`.
    """

    port: str
    name: str
    family: str
    plant: Callable[[Setup], Twins] = field(repr=False)
    need: str = "plain"

    @property
    def key(self) -> str:
        """Its name among those of all ports."""
        return f"{self.port}/{self.name}"


Change = Callable[[Any], None]
"""Changes a port's object in place: replaces one of its methods by a wrong one."""


class Family:
    """Collects the mistakes of one family in one port."""

    def __init__(self, port: str, build: Callable[[Setup], Any], path_of: Callable[[Any], Any]) -> None:
        self.port = port
        self.mistakes: list[Mistake] = []
        self._build, self._path_of = build, path_of

    def __call__(self, family: str, need: str = "plain") -> Callable[[Change], Change]:
        """Register a function that changes a port."""

        def register(change: Change) -> Change:
            def plant(setup: Setup) -> Twins:
                wrong = self._build(setup)
                change(wrong)
                return Twins(self._path_of(self._build(setup)), self._path_of(wrong), nullcontext)

            name = getattr(change, "__name__", "").replace("_", "-")
            self.mistakes.append(Mistake(port=self.port, name=name, family=family, plant=plant, need=need))
            return change

        return register
