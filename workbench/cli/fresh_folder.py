"""A new folder, named after the time, for the output of a command without --out."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path

from tracing.errors import EnvironmentProblemError

PARENT = Path("runs")


def fresh_folder(parent: Path = PARENT, prefix: str = "") -> Path:
    """Make a folder that was not there before; two runs never get the same one.

    Raises:
        EnvironmentProblemError: It cannot be made.
    """
    stamp = f"{prefix}{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    for number in itertools.count(1):
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not parent.is_dir():
                raise EnvironmentProblemError(f"cannot write {folder}: {parent} is no folder") from None
        except OSError as problem:
            raise EnvironmentProblemError(f"cannot write {folder}: {problem.strerror or problem}") from None
        else:
            return folder
    raise AssertionError("unreachable: the numbers do not end")
