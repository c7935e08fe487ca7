"""A single mistake in a port, and how it is planted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
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
Wrong = Callable[..., Any]
"""`(right function, *arguments)`."""


def bend(port: Any, method: str, wrong: Wrong) -> None:
    """Replace a method by `wrong(right method, *arguments)`."""
    setattr(port, method, partial(wrong, getattr(port, method)))


def bend_to_the_call_before(port: Any, method: str) -> None:
    """Let a method give what it gave when it was called before."""
    kept: list[Any] = []

    def late(right: Any, *given: Any) -> Any:
        kept.append(right(*given))
        return kept[-2:][0]

    bend(port, method, late)


def _plain(_: Any) -> Around:
    return nullcontext


class Family:
    """Collects the mistakes of one port.

    Args:
        port: Its name.
        build: Makes a port that can be changed.
        path_of: Makes a path of it.
        held_out: As `Mistake`.
        around_of: What is entered for each stage of the changed port; nothing by default.
        bend: Replaces a function of the port: `(port, *place, wrong)`.
    """

    def __init__(
        self,
        port: str,
        build: Callable[[Setup], Any],
        path_of: Callable[[Any], DecodePath],
        *,
        held_out: bool = False,
        around_of: Callable[[Any], Around] = _plain,
        bend: Callable[..., None] = bend,
    ) -> None:
        self.port = port
        self.mistakes: list[Mistake] = []
        self._build, self._path_of, self._held_out = build, path_of, held_out
        self._around_of, self._bend = around_of, bend

    def __call__(self, family: str, need: str = "plain") -> Callable[[Change], Change]:
        """Register a function that changes a port; its name is the mistake's."""

        def register(change: Change) -> Change:
            self._add(family, getattr(change, "__name__", ""), change, need)
            return change

        return register

    def bends(self, family: str, *place: Any, need: str = "plain") -> Callable[[Wrong], Wrong]:
        """Register a function that takes the place of another; its name is the mistake's."""

        def register(wrong: Wrong) -> Wrong:
            self.add(family, getattr(wrong, "__name__", ""), *place, wrong, need=need)
            return wrong

        return register

    def add(self, family: str, name: str, *place_and_wrong: Any, need: str = "plain") -> None:
        """Add the mistake of another function in some place of the port."""
        self._add(family, name, lambda port: self._bend(port, *place_and_wrong), need)

    def _add(self, family: str, name: str, change: Change, need: str) -> None:
        def plant(setup: Setup) -> Twins:
            wrong = self._build(setup)
            change(wrong)
            return Twins(self._path_of(self._build(setup)), self._path_of(wrong), self._around_of(wrong))

        key = name.replace("_", "-")
        made = Mistake(
            port=self.port, name=key, family=family, plant=plant, need=need, held_out=self._held_out
        )
        self.mistakes.append(made)
