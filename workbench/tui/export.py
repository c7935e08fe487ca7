"""The same panels without a terminal: SVG and HTML files for an issue, a CI artefact, a report."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from tracing.errors import EnvironmentProblemError
from workbench.view.lines import Line, Role, line_text
from workbench.view.safe_text import safe_text
from workbench.view.width import cell_width

STYLES: Final[dict[Role, str]] = {
    "plain": "",
    "title": "bold",
    "dim": "dim",
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
    "accent": "cyan",
}
MIN_WIDTH, MAX_WIDTH = 60, 240
_FONT_FACE: Final = re.compile(r"@font-face\s*\{.*?\}", re.DOTALL)


def save_svg(lines: Sequence[Line], path: Path, title: str) -> None:
    """Write lines as an SVG picture of a terminal.

    Raises:
        EnvironmentProblemError: The file cannot be written.
    """
    save_console_svg(_recorded(lines), path, title)


def save_html(lines: Sequence[Line], path: Path) -> None:
    """Write lines as an HTML page.

    Raises:
        EnvironmentProblemError: The file cannot be written.
    """
    save_console_html(_recorded(lines), path)


def save_console_svg(console: Console, path: Path, title: str) -> None:
    """Write what a console recorded as an SVG picture of a terminal.

    Raises:
        EnvironmentProblemError: The file cannot be written.
    """
    _write(path, without_fonts(console.export_svg(title=safe_text(title), clear=False)))


def save_console_html(console: Console, path: Path) -> None:
    """Write what a console recorded as an HTML page.

    Raises:
        EnvironmentProblemError: The file cannot be written.
    """
    _write(path, console.export_html(inline_styles=True, clear=False))


def without_fonts(svg: str) -> str:
    """Return a picture that fetches nothing: the viewer's own monospace font will do."""
    return _FONT_FACE.sub("", svg)


def styled(line: Line) -> Text:
    """Return a line as rich text; markup in it stays text."""
    return Text.assemble(*((span.text, STYLES[span.role]) for span in line))


def _recorded(lines: Sequence[Line]) -> Console:
    width = max((cell_width(line_text(line)) for line in lines), default=0)
    console = Console(
        record=True,
        width=min(MAX_WIDTH, max(MIN_WIDTH, width)),
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for line in lines:
        console.print(styled(line), soft_wrap=False, overflow="fold", highlight=False)
    return console


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise EnvironmentProblemError(
            f"{path} cannot be written: {problem.strerror or problem}; choose another file"
        ) from None
