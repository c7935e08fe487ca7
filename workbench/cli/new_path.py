"""`specwb new-path DIR`: a skeleton of a path under test, with a test that drives it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from tracing.errors import EnvironmentProblemError, UsageError
from workbench.cli.output import say

FILES: Final = ("port.py", "test_port.py", "prompt.txt")


@click.command(name="new-path")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(folder: Path) -> int:
    """Write a port that runs as it is, and grows stage by stage; files that are there are not overwritten.

    It begins with `accept`, the reference does the rest. docs/port.md says how to go on.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        taken = folder / there[0]
        raise UsageError(f"{taken} is there already, and is not overwritten; choose another folder")
    skeleton = files("workbench.cli.skeleton")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_text(skeleton.joinpath(name).read_text("utf-8"), "utf-8")
    except OSError as problem:
        raise EnvironmentProblemError(f"{folder} cannot be written: {problem.strerror}") from None
    for name in FILES:
        say(str(folder / name))
    say(f"next: cd {folder} && specwb diff --prompt prompt.txt --fused port:factory", err=True)
    return 0
