"""The way of text from a command to its reader."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from workbench.view.safe_text import safe_json, safe_lines

if TYPE_CHECKING:
    from workbench.report.text import Detail

QUIETER, LOUDER = -1, 1
_VERBOSITY: Final = "specwb.verbosity"
_LABEL: Final = re.compile(r"(?m)^(verdict|first|then|warning|trace)( +)(\S+)(.*)$")
_COLOURS: Final = {
    **dict.fromkeys(("ok", "near_tie", "the"), "green"),
    **dict.fromkeys(("structural", "numeric", "nondeterministic", "damaged", "different"), "red"),
    "inconclusive": "yellow",
}
"""First word of a verdict to its colour; what is found is red, what else there is stays as it is."""


def say(text: str, *, err: bool = False) -> None:
    """Print lines of which any part may come from a trace, a checkpoint or a path name.

    What goes to stderr is prose, which `--quiet` leaves out.
    """
    if err and is_quiet():
        return
    shown = safe_lines(text.rstrip("\n"))
    click.echo(coloured(shown) if _has_colour(err=err) else shown, err=err)


def show(
    output_format: str, data: Callable[[], Any], lines: Callable[[], Iterable[str]], indent: int | None = None
) -> None:
    """Print a result as JSON, or as lines; only what is printed is made."""
    if output_format == "json":
        click.echo(safe_json(data(), indent=indent))
    else:
        say("\n".join(lines()))


def change_verbosity(by: int) -> None:
    """Make the command under way say less, -1, or more, 1."""
    meta = _meta()
    meta[_VERBOSITY] = meta.get(_VERBOSITY, 0) + by


def is_quiet() -> bool:
    """Return whether only what was found is to be said."""
    return _verbosity() < 0


def detail() -> Detail:
    """Return how much a report is to say."""
    return "short" if is_quiet() else "full" if _verbosity() > 0 else "usual"


def hides_progress() -> bool:
    """Return whether a progress bar would be in the way."""
    return is_quiet() or not sys.stderr.isatty()


def coloured(text: str) -> str:
    """Return a report with its verdict and its first findings in colour."""
    return _LABEL.sub(_painted, text)


def _painted(match: re.Match[str]) -> str:
    label, space, word, rest = match.groups()
    if label == "verdict":
        return f"{label}{space}{click.style(word, fg=_COLOURS.get(word), bold=True)}{rest}"
    colour = "yellow" if label in {"warning", "trace"} else "red"
    return f"{click.style(label, fg=colour)}{space}{word}{rest}"


def _has_colour(*, err: bool) -> bool:
    """Return whether the reader is a terminal and wants colour (no-color.org)."""
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _verbosity() -> int:
    return int(_meta().get(_VERBOSITY, 0))


def _meta() -> dict[str, Any]:
    context = click.get_current_context(silent=True)
    return {} if context is None else context.meta
