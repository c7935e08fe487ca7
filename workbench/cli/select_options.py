"""`--select` and `--ignore`, and the `[tool.specwb]` table that they override."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from invariants.selection import Selection, read_selection
from tracing.errors import UsageError
from workbench.cli.decode_options import Function

_WORDS = "Rule ids, names or families, comma-separated, e.g. MASK,TREE001."
_OPTIONS = (
    click.option("--select", multiple=True, metavar="RULES", help=f"Only these rules. {_WORDS}"),
    click.option("--ignore", multiple=True, metavar="RULES", help="Not these rules."),
    click.option(
        "--config",
        metavar="FILE",
        help="pyproject.toml whose [tool.specwb] holds; default the nearest one upwards.",
    ),
)


def select_options(function: Function) -> Function:
    """Add the options that choose rules."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def chosen_rules(select: Sequence[str], ignore: Sequence[str], config: str | None) -> Selection:
    """Return what to check: `--select` replaces the file's, `--ignore` adds to it.

    Raises:
        UsageError: A word that names no rule, or a file that cannot be read.
    """
    selection = _from_file(config)
    if select:
        selection = replace(selection, select=_words(select))
    selection = replace(selection, ignore=(*selection.ignore, *_words(ignore)))
    if not selection.rules():
        raise UsageError("--select and --ignore leave no rule; `specwb explain` lists them all")
    return selection


def _words(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


def _from_file(config: str | None) -> Selection:
    path = Path(config) if config else _nearest(Path.cwd())
    if path is None:
        return Selection()
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from None
    return read_selection(table)


def _nearest(folder: Path) -> Path | None:
    found = (each / "pyproject.toml" for each in (folder, *folder.parents))
    return next((path for path in found if path.is_file()), None)
