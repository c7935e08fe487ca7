"""The variants of a session's path, decoded: what `specwb locate --swap` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from invariants.context import RunContext
from tracing.finding import Finding
from tracing.stages import DecodePath
from workbench.locate.scene import Subject
from workbench.locate.swap import Swapped, swapped
from workbench.locate.variants import Eager, Unit, Variants, calls_noted
from workbench.locate.ways import Ways, ways_of
from workbench.lockstep.decoded_again import found_again

AS_IT_IS = "as it is"
EAGER = "eager"


@dataclass(frozen=True, slots=True)
class SwapReport:
    """What swapping told of a run.

    Attributes:
        swapped: The matrix; None where no operator of the path can be made eager.
        ways: The disputed row in all ways, or None.
    """

    swapped: Swapped | None
    ways: Ways | None

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "swap": None if self.swapped is None else self.swapped.as_json(),
            "ways": None if self.ways is None else self.ways.as_json(),
        }


def swap(
    subject: Subject,
    variants: Variants | None,
    context: RunContext,
    first: Finding | None,
    say: Callable[[str], None] = lambda _: None,
) -> SwapReport:
    """Swap the operators of a path.

    Args:
        subject: The path under test.
        variants: Of that path; None where no operator of it can be made eager.
        context: Limits that the rules may ask for.
        first: First error of the path as it is, or None.
        say: Told of each run.
    """
    if first is None:
        return SwapReport(Swapped(None), None)
    if variants is None:
        return SwapReport(None, ways_of(subject, {AS_IT_IS: subject.path}, first.moment))
    called: set[Unit] = set()
    with calls_noted(subject.path, called) as noted:
        _first_error(replace(subject, path=noted), context, first.moment.place)
    units = variants.units(frozenset(called))

    def decode(eager: Eager, last: tuple[int, int, int] | None) -> Finding | None:
        if not eager and last is None:
            return first
        say(f"eager: {', '.join(map(str, sorted(eager))) or 'nothing'}")
        return _first_error(replace(subject, path=variants.path(eager)), context, last)

    found = swapped(units, decode)
    paths: dict[str, DecodePath] = {AS_IT_IS: subject.path}
    if units:
        paths[EAGER] = variants.path(frozenset(units))
    return SwapReport(found, ways_of(subject, paths, first.moment))


def _first_error(subject: Subject, context: RunContext, last: tuple[int, int, int] | None) -> Finding | None:
    found = found_again(
        subject.path,
        subject.runner,
        subject.options,
        subject.turns,
        context=context,
        dtype=subject.dtype,
        last=last,
        user_code=subject.user_code,
    )
    return next((each for each in found if each.severity == "error"), None)
