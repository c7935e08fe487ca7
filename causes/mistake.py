"""A single mistake in a port, and how it is planted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from causes.twin import Around, Twins
from tracing.stages import DecodePath
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
        held_out: It was written after the order of findings, which had not seen it when it was first
            measured.
    """

    port: str
    name: str
    family: str
    plant: Callable[[Setup], Twins] = field(repr=False)
    need: str = "plain"
    held_out: bool = False

    @property
    def key(self) -> str:
        """Its name among those of all ports."""
        return f"{self.port}/{self.name}"


Change = Callable[[Any], None]
"""Changes a port's object in place: replaces one of its methods by a wrong one."""


def _plain(_: Any) -> Around:
    return nullcontext


class Family:
    """Collects the mistakes of one family in one port.

    Args:
        port: Its name.
        build: Makes a port that can be changed.
        path_of: Makes a path of it.
        held_out: As `Mistake`.
        around_of: What is entered for each stage of the changed port; nothing by default.
    """

    def __init__(
        self,
        port: str,
        build: Callable[[Setup], Any],
        path_of: Callable[[Any], DecodePath],
        *,
        held_out: bool = False,
        around_of: Callable[[Any], Around] = _plain,
    ) -> None:
        self.port = port
        self.mistakes: list[Mistake] = []
        self._build, self._path_of, self._held_out, self._around_of = build, path_of, held_out, around_of

    def __call__(self, family: str, need: str = "plain") -> Callable[[Change], Change]:
        """Register a function that changes a port."""

        def register(change: Change) -> Change:
            def plant(setup: Setup) -> Twins:
                wrong = self._build(setup)
                change(wrong)
                return Twins(self._path_of(self._build(setup)), self._path_of(wrong), self._around_of(wrong))

            name = getattr(change, "__name__", "").replace("_", "-")
            made = Mistake(
                port=self.port, name=name, family=family, plant=plant, need=need, held_out=self._held_out
            )
            self.mistakes.append(made)
            return change

        return register
