"""`specwb diff --fault NAME`: a named fault in our own path, to see how the workbench shows a broken run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from tracing.errors import UsageError
from workbench.cli.complete import complete_faults
from workbench.cli.output import say

if TYPE_CHECKING:
    from tracing.stages import DecodePath
    from workbench.faults.fault import Fault
    from workbench.faults.placement import Placement
    from workbench.lockstep.session.request import Session

fault_option = click.option(
    "--fault",
    "fault_name",
    metavar="NAME",
    shell_complete=complete_faults,
    help="Plant a named fault in our path and see what is said of it; `specwb faults list` shows them.",
)


faults_option = click.option(
    "--fault",
    "fault_names",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_faults,
    help="Plant a named fault in our path; may be given more than once.",
)


PlantAll = Callable[["DecodePath"], "DecodePath"]


@contextmanager
def planted_all(names: Sequence[str], fused: str | None) -> Iterator[PlantAll]:
    """Enter what puts all of these faults into any path of ours; may be called for several paths.

    Raises:
        UsageError: As `planted`, or two of them wrap stages.
    """
    placements = [(name, _placement(name, fused)) for name in names]

    def plant(path: DecodePath) -> DecodePath:
        for name, placement in placements:
            try:
                path = placement.path(path)
            except AttributeError:  # the one before hides the fixed parts of the path
                message = (
                    f"{name} cannot be planted on top of another fault in a stage; put it first, or alone"
                )
                raise UsageError(message) from None
        return path

    with ExitStack() as stack:
        for _, placement in placements:
            stack.enter_context(placement.around())
        yield plant


@contextmanager
def planted(session: Session, name: str | None, fused: str | None) -> Iterator[Session]:
    """Enter a session whose path has a fault; the same session without a name.

    Raises:
        UsageError: No single fault has that name, the path is not ours, or the fault is not in a path.
    """
    if name is None:
        yield session
        return
    placement = _placement(name, fused)
    with placement.around():
        yield replace(session, path=placement.path(session.path))


def _placement(name: str, fused: str | None) -> Placement:
    if fused is not None:
        raise UsageError("--fault plants a fault in our own path; leave --fused out")
    fault = _fault(name)
    placement = _placement_in_path(fault)
    say(f"planted {fault.id} {fault.name}: {fault.about}", err=True)
    if fault.need != "plain":
        say(f"it needs a run of its own kind ({fault.need}) and may not show in this one", err=True)
    return placement


def _fault(name: str) -> Fault:
    from workbench.faults.catalogue import chosen

    faults = chosen([name])
    if len(faults) != 1:
        raise UsageError(f"--fault takes one fault, {name!r} is a family of {len(faults)}")
    return faults[0]


def _placement_in_path(fault: Fault) -> Placement:
    placement = fault.place()
    if placement.rows or placement.files or placement.runner:
        raise UsageError(
            f"{fault.name} is not in the path under test but in a file, a recorded row or the reference; "
            f"specwb faults run {fault.name} --keep FOLDER shows it"
        )
    return placement
