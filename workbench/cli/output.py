"""The way of text from a command to its reader."""

from __future__ import annotations

import click

from workbench.view.safe_text import safe_lines


def say(text: str, *, err: bool = False) -> None:
    """Print lines of which any part may come from a trace, a checkpoint or a path name."""
    click.echo(safe_lines(text.rstrip("\n")), err=err)
