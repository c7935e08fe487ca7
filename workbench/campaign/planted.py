"""Plants the fault of a case in the path under test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tracing.errors import UsageError

if TYPE_CHECKING:
    from workbench.faults.placement import Placement
    from workbench.lockstep.session.request import Session


@contextmanager
def planted(session: Session, name: str) -> Iterator[Session]:
    """Enter a session whose path has a fault; the same one without a name."""
    if not name:
        yield session
        return
    placement = placed(name)
    with placement.around():
        yield replace(session, path=placement.path(session.path))


def placed(name: str) -> Placement:
    """Return the placement of one fault in a path.

    Raises:
        UsageError: No single fault has the name, or it is not in the path under test.
    """
    from workbench.faults.catalogue import chosen

    faults = chosen([name])
    if len(faults) != 1:
        raise UsageError(f"{name!r} is a family of {len(faults)} faults; name each")
    placement = faults[0].place()
    if placement.rows or placement.files or placement.runner:
        raise UsageError(f"{name} is in a file, a recorded row or the reference, not in the path under test")
    return placement
